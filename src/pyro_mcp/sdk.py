"""The SDK: `Pyro`, and the MCP server over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from pyro_mcp import core
from pyro_mcp.core import OutputSink
from pyro_mcp.serving import ServeKeywords

if TYPE_CHECKING:
    from pyro_mcp.mcp_server import WorkspaceServer

__all__ = ["OutputSink", "Pyro", "create_server"]


class Pyro(core.Pyro):
    __doc__ = core.Pyro.__doc__

    def create_server(
        self,
        profile: str | None = None,
        **options: Unpack[ServeKeywords],
    ) -> WorkspaceServer:
        """An MCP server over these machines: the tools of a profile or of a mode, by default "workspace-core".

        A workspace that is created without a seed begins as the project: `project_path`, or a clean clone of
        `repo_url` at `repo_ref`, or else the git checkout around the current folder. With `results` "text" a result
        is its text alone, for models; with "both", the default, also data for programs. `network_policy` and
        `allow_hosts` are what its workspaces have by default and at most; `accelerator` is that of its machines, unless
        it is "auto". Raises `InvalidRequest`.
        """
        from pyro_mcp import mcp_server  # noqa: PLC0415 - it takes longer to import than all the rest

        return mcp_server.create_server(self, profile, **options)


def create_server(profile: str | None = None, **options: Unpack[ServeKeywords]) -> WorkspaceServer:
    """Return an MCP server over the machines of this user; see `Pyro.create_server`."""
    return Pyro().create_server(profile, **options)
