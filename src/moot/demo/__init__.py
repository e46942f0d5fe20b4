"""A demonstration of a team without an account: two real Claude Code agents hand over work in a space of their own.

demonstration    the steps, and the report
world            a folder with all that is made, its processes, and their removal
players          what each agent's "model" says
scripted_model   the HTTP API through which the agents ask it
"""

from __future__ import annotations

from moot.demo.demonstration import DemoReport, demonstrate

__all__ = ["DemoReport", "demonstrate"]
