"""The first answers to a chat host, while the library of the protocol is still being imported.

The import takes most of a server's start, and Codex goes on without the tools of a server that has not listed them
within a second. The library's server hears the greeting afterwards, and takes over from there.
"""

from __future__ import annotations

import json
from typing import Any

from pyro_mcp.mcp_server.catalogue import NAME, TITLE, Catalogue

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Versions of the protocol that begin with `initialize`."""


class Greeting:
    """Answers `initialize` and `tools/list` until something else comes; then `held` is for the library's server."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.held: list[str] = []
        """Messages that the library's server has to hear, in their order."""
        self.answered: object = None
        """The id of an `initialize` that was answered here: a second answer to it must not be sent."""
        self.listed = False
        """Whether the tools were asked for, and listed."""

    def answer(self, line: str) -> str | None:
        """Return the answer to a message, which may be empty; None when the library's server has to take over."""
        message = _request(line)
        method, params, id_ = message.get("method"), message.get("params"), message.get("id")
        if method == "initialize" and self.answered is None and id_ is not None and isinstance(params, dict):
            if params.get("protocolVersion") in VERSIONS and {"capabilities", "clientInfo"} <= params.keys():
                self.answered = id_
                self.held.append(line)
                return _told(id_, self._about(params["protocolVersion"]))
        elif method == "notifications/initialized" and self.answered is not None:
            self.held.append(line)
            return ""
        elif method == "tools/list" and self.answered is not None and id_ is not None and not params:
            self.listed = True
            return _told(id_, {"tools": self._catalogue.tools})
        self.held.append(line)
        return None

    def _about(self, version: str) -> dict[str, Any]:
        return {
            "protocolVersion": version,
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": NAME, "title": TITLE, "version": self._catalogue.version},
            "instructions": self._catalogue.instructions,
        }


def _request(line: str) -> dict[str, Any]:
    """Return a message; an empty one for what is not a request."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) and message.get("jsonrpc") == "2.0" else {}


def _told(id_: object, result: dict[str, Any]) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "result": result}, separators=(",", ":")) + "\n"
