"""The harnesses by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from moot.harness.interface import Harness
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import near_match

_WHERE: Mapping[str, tuple[str, str]] = {
    "claude-code": ("claude_code", "ClaudeCode"),
    "codex": ("codex", "Codex"),
    "opencode": ("opencode", "OpenCode"),
    "cursor": ("others", "Cursor"),
    "aider": ("others", "Aider"),
}
HARNESSES = tuple(_WHERE)
"""The names that moot.toml may have."""


def harness_named(name: str) -> Harness:
    """Return the harness of that name. Raises `InvalidRequest`."""
    if name not in _WHERE:
        hint = near_match(name, HARNESSES) or f"choose from {', '.join(HARNESSES)}"
        raise InvalidRequest(f"there is no harness {name[:100]!r}", hint=hint)
    module, kind = _WHERE[name]
    made: Callable[[], Harness] = getattr(import_module(f"moot.harness.{module}"), kind)
    return made()
