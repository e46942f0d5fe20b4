"""The part of the guard for an agent's requests: by MCP tools, by refused connections, and by the use of secrets."""

from __future__ import annotations

import re
import socket
import threading
from typing import TYPE_CHECKING

from claude_bottle.guard.kinds import rule_of
from claude_bottle.guard.lifetime import Lifetime
from claude_bottle.guard.names import GUARD_HOST
from claude_bottle.guard.part import Guarded, Part
from claude_bottle.guard.requests import Request
from pyro_mcp.errors import PyroError
from pyro_mcp.results import NetworkLogEntry

if TYPE_CHECKING:
    from claude_bottle.guard.tool_calls import AgentTools

_NOT_ALLOWED = re.compile(r"not in the allow list|(tcp|udp) port [0-9]+ is not in the allow list")
_TOOL = "request_capability"


def part(guarded: Guarded) -> Part | None:
    """Return the part for a bottle that may ask, or that has a secret with `ask`; None for others."""
    asks = any(secret.get("ask") for secret in guarded.config.get("secrets", {}).values())
    return Capabilities(guarded) if guarded.config.get("supervise") or asks else None


class Capabilities(Part):
    """The part that knows what one bottle may ask for: see the key `supervise` of the manifest."""

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded
        supervise = guarded.config.get("supervise") or {}
        self.kinds: tuple[str, ...] = tuple(supervise.get("capabilities", ()))
        self._asks_when_refused = bool(supervise.get("ask_when_refused"))
        self._secrets = {name for name, one in guarded.config.get("secrets", {}).items() if one.get("ask")}
        self._lifetime = Lifetime(guarded)
        self._server: AgentTools | None = None
        self._lock = threading.Lock()
        if supervise:
            self.names = (GUARD_HOST,)

    def connect(self, name: str) -> socket.socket:
        """Return a connection to the MCP server, which starts with the first one."""
        from claude_bottle.guard.tool_calls import AgentTools  # noqa: PLC0415 - many agents never ask

        with self._lock:
            if self._server is None:
                self._server = AgentTools(self._guarded, self.kinds)
        return self._server.connect()

    def refusal_advice(self, entry: NetworkLogEntry) -> str:
        """Return how the agent can ask for a refused host; if the manifest says so, make the request itself."""
        name, port = entry["name"], entry["port"] or 443
        if "host" not in self.kinds or not name or entry["method"]:
            return ""
        if not _NOT_ALLOWED.fullmatch(entry["reason"]):
            return ""
        try:
            rule = rule_of("host", {"host": f"{name}:{port}"}, self._guarded.settings)
            if not self._asks_when_refused:
                return f"to ask a person for it, use the tool {_TOOL} with the host {rule['host']}"
            asked = self._guarded.approvals.ask("host", rule, reason="", asked_by="refusal")
        except PyroError as error:
            return error.message
        return _told(asked)

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str:
        """Return why a secret with `ask` is not used, "" if it may be; make its request if there is none."""
        if secret not in self._secrets:
            return ""
        rule = {"secret": secret, "host": host}
        if any(one.rule == rule for one in self._guarded.approvals.granted("secret")):
            return ""
        try:
            asked = self._guarded.approvals.ask("secret", rule, reason=f"{method} {path}", asked_by="refusal")
        except PyroError as error:
            return error.message
        return f"the secret {secret} is used only when a person has approved it; {_told(asked)}"

    def close(self) -> None:
        with self._lock:
            if self._server is not None:
                self._server.close()

    def changed(self) -> None:
        """Extend the lifetime of the bottle by what was approved."""
        self._lifetime.extend(self._guarded.approvals.granted("time"))


def _told(asked: Request) -> str:
    """Return the text for the guest about a request that the guard made."""
    if asked.state == "pending":
        return f"a person has been asked ({asked.id}): try again later"
    return f"a person has {asked.state} it ({asked.id})"
