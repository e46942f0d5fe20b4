"""The parts of the guard. A new part is a module with a function `part`, and its line here."""

from __future__ import annotations

from importlib import import_module

from claude_bottle.guard.part import Guarded, Part

_MODULES = ("claude_bottle.guard.capabilities", "claude_bottle.budget.part", "claude_bottle.gate.part")
"""The module of each part; its `part(guarded)` returns the part, or None when the bottle needs none."""


def parts_of(guarded: Guarded) -> list[Part]:
    """Return the parts that a bottle needs, in the order of the table."""
    made = [import_module(module).part(guarded) for module in _MODULES]
    return [one for one in made if one is not None]
