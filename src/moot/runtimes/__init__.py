"""Where the agents of a team run: one file for each runtime, behind the protocol of `interface`."""

from __future__ import annotations

from moot.runtimes.interface import AgentProcess, AgentStart, Kept, Runtime, Watch
from moot.runtimes.table import runtime_named

__all__ = ["AgentProcess", "AgentStart", "Kept", "Runtime", "Watch", "runtime_named"]
