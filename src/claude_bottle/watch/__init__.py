"""The terminal screen: agents, what they ask for, and decisions as they are made.

    watch(Bottles())  # until the person quits

`lines` makes the text of everything that is shown, `feed` notices changes, `app` is the screen itself (Textual).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import ExtraMissing

if TYPE_CHECKING:
    from claude_bottle.bottles import Bottles

__all__ = ["watch"]


def watch(bottles: Bottles) -> None:
    """Show the screen in this terminal until the person quits. Raises `ExtraMissing` without Textual."""
    try:
        from claude_bottle.watch.app import WatchApp  # noqa: PLC0415 - Textual is slow to import, and may be missing
    except ModuleNotFoundError as error:
        raise ExtraMissing(error.name or "textual", extra="watch") from error
    WatchApp(bottles).run()
