"""One-shot machines, and how any command ended."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class VmInfo(TypedDict):
    """One one-shot machine."""

    vm_id: str
    environment: str
    environment_version: str
    state: Literal["created", "starting", "running", "executing", "stopping", "stopped", "deleting", "failed"]
    vcpu_count: int
    mem_mib: int
    network: bool
    allow_host_compat: bool
    execution_mode: str | None
    """`guest_virtio` in a virtual machine, `host_compat` without one; None until it is started."""
    accelerator: str | None
    """`kvm`, `tcg` (software emulation) or `none`; None until it is started."""
    created_at: float
    expires_at: float
    """Moment from which it does not exist any more."""
    failure: str | None
    """Why its state is `failed`."""


class Cleanup(TypedDict):
    """What became of a machine after its command."""

    deleted: bool
    reason: str


class CommandEnd(TypedDict):
    """How a command ended."""

    exit_code: int
    """The program's; 126 or 127 when it could not be started, 128+n when signal n ended it, 124 at the time limit."""
    signal: int | None
    timed_out: bool
    stdout: str
    """The first part, as UTF-8 with broken bytes replaced."""
    stderr: str
    stdout_bytes: int
    """True size, also of what `stdout` does not hold."""
    stderr_bytes: int
    truncated: bool
    duration_ms: float
    hint: str | None
    """What would have helped a command that failed, where that is known."""


class VmExecResult(CommandEnd):
    """How a command ended, and where it ran."""

    vm_id: str
    environment: str
    environment_version: str
    command: str | list[str]
    execution_mode: str
    accelerator: str
    cleanup: Cleanup


class VmDeleted(TypedDict):
    """A machine that is no more."""

    vm_id: str
    deleted: bool


class VmNetworkInfo(TypedDict):
    """What network a machine has."""

    vm_id: str
    network: bool
    policy: str
    """`off` or `egress`."""


class ReapProblem(TypedDict):
    """A machine that could not be looked at or deleted."""

    id: str
    problem: str


class ReapReport(TypedDict):
    """The machines that had expired, or whose process had died half way, and are gone now."""

    count: int
    deleted: list[str]
    problems: NotRequired[list[ReapProblem]]
    """Only when there are any."""
