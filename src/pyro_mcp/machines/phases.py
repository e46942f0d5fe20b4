"""The phases of a machine and the transitions between them."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from pyro_mcp.errors import Conflict


class Phase(StrEnum):
    """Where a machine is in its life; those in `UNDER_WAY` last only as long as some process works on them."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    EXECUTING = "executing"
    """Running its one command, after which it is deleted."""
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"
    FAILED = "failed"


GUEST, HOST_COMPAT = "guest_virtio", "host_compat"
"""The execution modes: in a virtual machine, and without one."""

UNDER_WAY = frozenset({Phase.STARTING, Phase.EXECUTING, Phase.STOPPING, Phase.DELETING})

_NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.CREATED: frozenset({Phase.STARTING, Phase.DELETING}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.EXECUTING, Phase.FAILED, Phase.DELETING}),
    Phase.RUNNING: frozenset(set(Phase) - {Phase.CREATED, Phase.STARTING}),
    Phase.EXECUTING: frozenset({Phase.FAILED, Phase.DELETING}),
    Phase.STOPPING: frozenset({Phase.RUNNING, Phase.STOPPED, Phase.FAILED, Phase.DELETING}),
    Phase.STOPPED: frozenset({Phase.STARTING, Phase.STOPPED, Phase.DELETING}),
    Phase.DELETING: frozenset({Phase.DELETING}),
    Phase.FAILED: frozenset({Phase.STARTING, Phase.STOPPED, Phase.DELETING}),
}


def check_transition(name: str, actual: Phase, wanted: Phase) -> None:
    """Raise `Conflict` when `actual` does not lead to `wanted`."""
    if wanted not in _NEXT[actual]:
        allowed = ", ".join(sorted(_NEXT[actual])) or "nothing"
        raise Conflict(f"{name} is {actual}; from there it can only become: {allowed}, not {wanted}")


def require_phase(name: str, actual: Phase, allowed: Collection[Phase], *, hint: str = "") -> None:
    """Raise `Conflict`, with the actual and the required phase, unless `actual` is one of `allowed`."""
    if actual not in allowed:
        raise Conflict(f"{name} is {actual}; this needs it to be {' or '.join(sorted(allowed))}", hint=hint)
