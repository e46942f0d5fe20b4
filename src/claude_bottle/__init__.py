"""Bottles: a whole coding agent in a virtual machine or a container, described by one manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.manifest import Manifest

__all__ = ["Manifest"]


def __getattr__(name: str) -> object:
    # `claude-bottle --version` must not pay for importing everything.
    if name == "Manifest":
        from claude_bottle.manifest import Manifest  # noqa: PLC0415

        return Manifest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
