"""The class of each harness that moot.toml may name (`moot.known_words`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from moot.harness.interface import Harness

HARNESSES: Mapping[str, tuple[str, str]] = {
    "claude-code": ("claude_code", "ClaudeCode"),
    "codex": ("codex", "Codex"),
    "opencode": ("opencode", "OpenCode"),
    "cursor": ("others", "Cursor"),
    "aider": ("others", "Aider"),
}
"""Each harness's name, its module, and its class there."""


def harness_named(name: str) -> Harness:
    """Return the harness of a name that moot.toml may have."""
    module, kind = HARNESSES[name]
    made: Callable[[], Harness] = getattr(import_module(f"moot.harness.{module}"), kind)
    return made()
