"""What a terminal shows: its rows, and where its cursor is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Screen:
    """The rows of a terminal from the top, without the blanks at their ends, and the cell of its cursor from 0."""

    rows: tuple[str, ...]
    row: int
    column: int
    shows_cursor: bool

    def text(self, row: int) -> str:
        """Return a row, "" for one that the terminal does not have."""
        return self.rows[row] if 0 <= row < len(self.rows) else ""


class PromptReader(Protocol):
    """What a harness knows of its screen."""

    def prompt_is_empty(self, screen: Screen) -> bool | None:
        """Return whether nothing is typed at the prompt, which has the focus; None when the screen does not show that.

        In a dialog Enter would be an answer, so what is not known for certain is None.
        """
