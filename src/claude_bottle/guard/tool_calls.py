"""The guard's answers to the calls of its MCP server, which is a front."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Sequence
from typing import Any

from claude_bottle.guard import tools
from claude_bottle.guard.front import Front
from claude_bottle.guard.part import Guarded
from pyro_mcp.errors import InvalidRequest, PyroError

_MOST_CALLS = 16
_LARGEST_CALL = 1 << 20
_CALL_SECONDS = 10.0
_log = logging.getLogger("claude_bottle.guard")


class AgentTools:
    """The tools of one bottle's agent, and the server that it calls them by."""

    def __init__(self, guarded: Guarded, kinds: Sequence[str]) -> None:
        self._guarded, self._kinds = guarded, tuple(kinds)
        given = json.dumps({"tools": tools.tools(self._kinds), "instructions": tools.INSTRUCTIONS})
        path = guarded.folder / "mcp"
        self._front = Front(
            "claude_bottle.guard.mcp_front", path, self._serve, arguments=[given], most_calls=_MOST_CALLS
        )

    def connect(self) -> socket.socket:
        """Return a new connection to the MCP server; raises `PyroError`."""
        return self._front.connect()

    def close(self) -> None:
        """End the MCP server."""
        self._front.close()

    def _serve(self, call: socket.socket) -> None:
        call.settimeout(_CALL_SECONDS)
        with call.makefile("rb") as source:
            content = source.read(_LARGEST_CALL + 1)
        try:
            text, failed = json.dumps(self._answer(content)), False
        except PyroError as error:
            text, failed = str(error), True
        except Exception:  # noqa: BLE001
            _log.exception("a tool failed unexpectedly")
            text, failed = "the guard failed, and nothing was asked", True
        call.sendall(json.dumps({"text": text, "failed": failed}).encode())

    def _answer(self, content: bytes) -> dict[str, Any]:
        asked = json.loads(content) if len(content) <= _LARGEST_CALL else None
        if not isinstance(asked, dict) or not isinstance(asked.get("arguments"), dict):
            raise InvalidRequest("that is not a call of a tool")
        return tools.call_tool(self._guarded, self._kinds, str(asked.get("name")), asked["arguments"])
