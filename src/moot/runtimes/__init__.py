"""Where the agents of a team run: one file for each runtime, behind the protocol of `interface`."""

from __future__ import annotations

from moot.runtimes.interface import AgentProcess, AgentStart, Kept, Runtime, Watch
from moot.runtimes.table import record_runtime, recorded_runtime, running_roles, runtime_named

__all__ = [
    "AgentProcess",
    "AgentStart",
    "Kept",
    "Runtime",
    "Watch",
    "record_runtime",
    "recorded_runtime",
    "running_roles",
    "runtime_named",
]
