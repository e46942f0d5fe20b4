"""Harnesses: the agent programs of a team, one module each, behind the protocol in `interface`.

claude_code, codex, opencode    can be launched
others                          have a name, but no launch yet
user_files                      edits of JSON and TOML files of the user
"""

from __future__ import annotations

from moot.harness.interface import TOOLS_SERVER, AgentSettings, Harness
from moot.harness.table import harness_named

__all__ = ["TOOLS_SERVER", "AgentSettings", "Harness", "harness_named"]
