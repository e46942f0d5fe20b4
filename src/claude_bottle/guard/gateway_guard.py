"""The guard as the supervisor of its gateway: it records each decision, and asks the parts of the guard."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from claude_bottle.audit import Decision, DecisionKind
from claude_bottle.guard.part import Guarded, Part
from claude_bottle.guard.requests import Request
from pyro_mcp.errors import Conflict, PyroError, TooManyRequests
from pyro_mcp.network import ModelRefusal, ModelRequest, ModelUsage, Refusal, Reservation
from pyro_mcp.results import NetworkLogEntry


class GatewayGuard:
    """The guard of one bottle for its gateway: a `Supervisor` that combines the parts, and records what they decide."""

    def __init__(self, guarded: Guarded, parts: Sequence[Part]) -> None:
        self._guarded, self._parts = guarded, tuple(parts)
        self._by_name = {name: part for part in parts for name in part.names}

    def decided(self, entry: NetworkLogEntry) -> str:
        host = f"{entry['name'] or entry['address'] or ''}:{entry['port'] or ''}"
        if entry["verdict"] == "allowed":
            self._allowed(entry, host)
            return ""
        self._record("egress", "refused", None, rule=host, what=entry)
        said = [part.refusal_advice(entry) for part in self._parts]
        return "; ".join(text for text in said if text)

    def _allowed(self, entry: NetworkLogEntry, host: str) -> None:
        """Record what the gateway allows; raise `Conflict` if only an approval allowed it, which is over."""
        rule = {"host": host}
        approval = self._approval("host", rule)
        if approval is None and self._guarded.approvals.had("host", rule):  # the gateway gets its new rules soon
            reason = f"the approval of {host} is over, or void because the policy has changed"
            self._record("egress", "refused", None, rule=host, what={**entry, "verdict": "refused", "reason": reason})
            raise Conflict(reason)
        self._record("egress", "allowed", approval, rule=host, what=entry)

    def connect(self, name: str) -> socket.socket | Refusal:
        part = self._by_name.get(name)
        if part is None:
            return Refusal(f"nothing serves {name} in this bottle")
        try:
            return part.connect(name)
        except PyroError as error:
            return Refusal(error.message)

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str:
        reason = next((text for part in self._parts if (text := part.secret_use(secret, host, method, path))), "")
        approval = None if reason else self._approval("secret", {"host": host, "secret": secret})
        what = {"host": host, "method": method, "path": path, "reason": reason}
        try:
            self._record("secret", "refused" if reason else "allowed", approval, rule=secret, what=what)
        except TooManyRequests as error:
            return error.message
        return reason

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal:
        for part in self._parts:
            if (decision := part.model_request(request)) is not None:
                return decision
        return ModelRefusal("nothing in this bottle counts requests to models")

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        for part in self._parts:
            part.model_usage(reservation, usage)

    def _approval(self, kind: str, rule: Mapping[str, object]) -> Request | None:
        return next((one for one in self._guarded.approvals.granted(kind) if one.rule == rule), None)

    def _record(
        self, kind: DecisionKind, decision: Decision, approval: Request | None, *, rule: str, what: Mapping[str, object]
    ) -> None:
        """Record a decision of the policy, or of the person who approved it: `request` then names the approval."""
        if approval is None:
            self._guarded.record(kind, decision, rule=rule, what=what)
        else:
            who, what = approval.decided_by, {**what, "request": approval.id}
            self._guarded.record(kind, decision, rule=rule, what=what, who=who)
