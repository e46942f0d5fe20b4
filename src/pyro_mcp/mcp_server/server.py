"""The server as programs have it: over standard streams, over HTTP, or called directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_mcp.core import Pyro
from pyro_mcp.mcp_server.catalogue import Catalogue
from pyro_mcp.mcp_server.project_seed import ProjectSource

if TYPE_CHECKING:
    import mcp_types as mcp

    from pyro_mcp.mcp_server.protocol import Protocol


class WorkspaceServer:
    """An MCP server over one `Pyro`: any number of calls at once, on any number of connections."""

    def __init__(self, pyro: Pyro, catalogue: Catalogue) -> None:
        self._pyro = pyro
        self.catalogue = catalogue
        """What this server offers: its tools, its source of workspaces, and the words of its hints."""

    @property
    def source(self) -> ProjectSource:
        """Return what a workspace holds without a seed."""
        return self.catalogue.source

    async def list_tools(self) -> list[mcp.Tool]:
        """Return the tools, always in the same order."""
        return self._protocol.list_tools()

    async def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None) -> mcp.CallToolResult:
        """Call a tool as a client does; a failure is a result with `is_error`, never an exception."""
        return await self._protocol.call_tool(name, arguments or {})

    def serve_stdio(self) -> int:
        """Serve one client over standard input and output until it closes them; commands that run then are killed.

        An exit code: 128+n when signal n ended it.
        """
        from pyro_mcp.mcp_server.stdio import over_stdio  # noqa: PLC0415 - no other use of the server needs it

        return over_stdio(self.catalogue, lambda: self._protocol.lowlevel)

    def serve_http(
        self, *, port: int = 0, token_file: str | Path | None = None, announce: Callable[[str, str | None], None]
    ) -> None:
        """Serve any number of clients on 127.0.0.1 until a signal ends it; commands that run then are killed.

        They send the token of `token_file`, or else of `$PYRO_MCP_TOKEN`, or else a new one. `announce` is told the
        address, and the token when it is new. Raises `InvalidRequest` for an unsafe token, `Conflict` for a taken port.
        """
        from pyro_mcp.mcp_transport import http  # noqa: PLC0415 - slow to import, and stdio does without

        known = http.find_token(token_file)
        token = known or http.new_token()
        with http.listen(port) as listener:
            announce(http.address(listener), None if known else token)
            http.over_http(self._protocol.lowlevel, listener, token)

    @cached_property
    def _protocol(self) -> Protocol:
        from pyro_mcp.mcp_server.protocol import Protocol  # noqa: PLC0415 - the slowest import of all

        return Protocol(self._pyro, self.catalogue)
