"""Where the agents of a team run: one file for each runtime, behind the protocol of `interface`."""

from __future__ import annotations

from moot.runtimes.interface import AgentProcess, AgentStart, Runtime, Watch
from moot.runtimes.table import runtime_named

__all__ = ["AgentProcess", "AgentStart", "Runtime", "Watch", "runtime_named"]
