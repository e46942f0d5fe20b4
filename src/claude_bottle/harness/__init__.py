"""Harnesses: the programs of agents, one module each, behind the protocol in `interface`.

`harness_of(agent)` returns the harness of an agent in the manifest: Claude Code, Codex, OpenCode, or any command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.harness.interface import GuestPaths, Harness, HarnessKey

if TYPE_CHECKING:
    from claude_bottle.manifest import AgentConfig

__all__ = ["GuestPaths", "Harness", "HarnessKey", "harness_of"]


def harness_of(agent: AgentConfig) -> Harness:
    """Return the harness that the manifest names for this agent."""
    if not isinstance(agent.harness, str):
        from claude_bottle.harness.command import AnyCommand  # noqa: PLC0415

        return AnyCommand(agent.harness)
    if agent.harness == "codex":
        from claude_bottle.harness.codex import Codex  # noqa: PLC0415

        return Codex()
    if agent.harness == "opencode":
        from claude_bottle.harness.opencode import OpenCode  # noqa: PLC0415

        return OpenCode(agent.model)
    from claude_bottle.harness.claude import ClaudeCode  # noqa: PLC0415

    return ClaudeCode()
