"""Harnesses: the programs of agents, one module each, behind the protocol in `interface`.

`harness_of(agent)` returns the harness of an agent in the manifest: Claude Code, Codex, OpenCode, or any command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.harness.interface import GuestPaths, Harness, HarnessKey, HarnessLogin, LoginFile

if TYPE_CHECKING:
    from claude_bottle.manifest import AgentConfig

__all__ = ["GuestPaths", "Harness", "HarnessKey", "HarnessLogin", "LoginFile", "harness_named", "harness_of"]


def harness_of(agent: AgentConfig) -> Harness:
    """Return the harness that the manifest names for this agent."""
    if not isinstance(agent.harness, str):
        from claude_bottle.harness.command import AnyCommand  # noqa: PLC0415

        return AnyCommand(agent.harness)
    return harness_named(agent.harness, agent.model)


def harness_named(name: str, model: str | None = None) -> Harness:
    """Return the harness of that name, for an agent with this model."""
    if name == "codex":
        from claude_bottle.harness.codex import Codex  # noqa: PLC0415

        return Codex()
    if name == "opencode":
        from claude_bottle.harness.opencode import OpenCode  # noqa: PLC0415

        return OpenCode(model)
    from claude_bottle.harness.claude import ClaudeCode  # noqa: PLC0415

    return ClaudeCode()
