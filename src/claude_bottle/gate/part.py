"""The git gate as a part of the guard."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_bottle.audit import Decision
from claude_bottle.gate.remotes import GATE_HOST, PushRule, Remote
from claude_bottle.guard.part import Guarded, Part

if TYPE_CHECKING:
    from claude_bottle.gate.gate import Gate


def part(guarded: Guarded) -> Part | None:
    """Return the gate of a bottle, None when its manifest declares no remote."""
    declared = guarded.config.get("git", {}).get("remotes", {})
    return _GatePart(guarded, [remote_of(name, one) for name, one in declared.items()]) if declared else None


def remote_of(name: str, config: Mapping[str, Any]) -> Remote:
    """Return a remote of a manifest that was read from JSON."""
    rules = tuple(PushRule(one["ref"], one["approve"]) for one in config["push"])
    return Remote(name, config["url"], config["fetch"], rules, tuple(config["not_secret"]))


def gate_folder(guard_folder: Path) -> Path:
    """Return the folder of the gate in that of a guard."""
    return guard_folder / "gate"


class _GatePart(Part):
    """The part that serves git to the guest. Creating it is cheap, because each launch starts a guard."""

    names = (GATE_HOST,)

    def __init__(self, guarded: Guarded, remotes: list[Remote]) -> None:
        self._guarded, self._remotes = guarded, remotes
        self._gate: Gate | None = None
        self._lock = threading.Lock()

    def connect(self, name: str) -> socket.socket:
        """Return a connection to the gate, which the first connection creates."""
        from claude_bottle.gate.gate import Gate  # noqa: PLC0415 - slow to import

        with self._lock:
            if self._gate is None:
                folder = gate_folder(self._guarded.folder)
                self._gate = Gate(folder, self._remotes, self._guarded.approvals, self._record)
        return self._gate.connect()

    def close(self) -> None:
        with self._lock:
            if self._gate is not None:
                self._gate.close()

    def _record(self, decision: Decision, *, who: str, rule: str, what: Mapping[str, object]) -> None:
        self._guarded.record("push", decision, who=who, rule=rule, what=what)
