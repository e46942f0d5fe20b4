"""The host, and the throw-away machines that prove it."""

from __future__ import annotations

from typing import Literal, TypedDict


class DoctorCheck(TypedDict):
    """One fact about the host."""

    name: str
    ok: bool
    detail: str
    hint: str
    """What to do when it is not ok."""
    needed_for: str
    """The one feature that needs it, when machines run without it; "" when none does."""


class EnvironmentReadiness(TypedDict):
    """How soon a machine of an environment can start."""

    environment: str
    readiness: Literal["warm", "cold", "stale", "absent"]
    """warm: a saved machine is there; stale: one was, but something it was made of has changed; cold: only the image
    is there; absent: not even that."""
    hint: str


class DoctorReport(TypedDict):
    """Whether this host can run machines."""

    ready: bool
    accelerator: str
    accelerator_reason: str
    checks: list[DoctorCheck]
    missing_packages: list[str]
    install_command: str
    environment: EnvironmentReadiness | None


class PrepareReport(TypedDict):
    """An environment that is warm, and the throw-away machine that proved it."""

    environment: str
    environment_version: str
    outcome: Literal["reused", "prepared"]
    execution_mode: str
    accelerator: str
    cold_boot_ms: float
    """What the one real boot took when the saved machine was made."""
    create_ms: float
    exec_ms: float
    reset_ms: float
    delete_ms: float


class DemoReport(TypedDict):
    """The life of one machine, with timings."""

    environment: str
    execution_mode: str
    accelerator: str
    command: list[str]
    stdout: str
    exit_code: int
    create_ms: float
    start_ms: float
    exec_ms: float
    delete_ms: float
