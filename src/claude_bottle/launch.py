"""A launch whose bottle belongs to this process."""

from __future__ import annotations

from claude_bottle import state
from claude_bottle.backend.interface import Backend, Bottle
from claude_bottle.state import Record


class Launch:
    """A bottle that the process which launched it owns until `keep` or `remove` is called."""

    def __init__(self, record: Record, bottle: Bottle, backend: Backend) -> None:
        self.record, self.bottle, self._backend = record, bottle, backend
        self.kept = self.removed = False

    @property
    def slug(self) -> str:
        """The bottle's name."""
        return self.record.slug

    def keep(self) -> None:
        """Let the bottle outlive this process."""
        self.record = state.launched(self.record)
        self.kept = True

    def remove(self) -> None:
        """End the bottle and remove all that its launch made."""
        self._backend.remove(self.slug)
        state.forget(self.slug)
        self.removed = True
