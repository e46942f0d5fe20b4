"""A bottle without a machine whose guard is the test: it asks persons for what a real one asks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from claude_bottle import state
from claude_bottle.gate.commands import rule_key
from claude_bottle.gate.part import gate_folder
from claude_bottle.gate.shown import HELD, HeldPush
from claude_bottle.guard.database import guard_database
from claude_bottle.guard.journaling import recording
from claude_bottle.guard.presence import hold_presence
from claude_bottle.guard.requests import Asker, Request, Requests
from claude_bottle.guard.settings import GuardSettings, guard_dir
from claude_bottle.state import Record

_GUARD = "guard-of-the-test"


class AskingBottle:
    """The bottle `slug`; what it asks for expires after `timeout_seconds`."""

    def __init__(self, slug: str, manifest: str, timeout_seconds: float) -> None:
        self.slug, self.manifest, self._timeout = slug, manifest, timeout_seconds
        self._folder = guard_dir(slug)
        self._folder.mkdir()
        self._settings = GuardSettings(
            guard=_GUARD,
            slug=slug,
            agent="web",
            bottle="small",
            backend="fake",
            rules={},
            config={},
            manifest_files=(manifest,),
        )
        self._settings.write(self._folder)
        self.presence = hold_presence(self._folder, _GUARD)

    def ask(self, kind: str = "host", rule: Mapping[str, object] | None = None, reason: str = "to fetch it") -> Request:
        """Ask for a host, or for something else."""
        asker = Asker(_GUARD, self.slug, "small", "web", self._settings.policy(), self._timeout, 3600.0)
        with self._requests() as requests:
            return requests.ask(asker, kind, rule or {"host": "pypi.org:443"}, reason=reason)

    def hold_push(self, log: str = "commit 1", diff: str = "+line") -> Request:
        """Hold a push, as the gate does, and ask for it."""
        rule: dict[str, object] = {"remote": "origin", "url": "https://example.org/x.git", "updates": []}
        folder = gate_folder(self._folder) / "origin" / HELD / rule_key(rule)
        HeldPush("origin", "https://example.org/x.git", "push to x: 1 new commit", ("a hook",), log, diff).save(folder)
        return self.ask("push", rule)

    def state_of(self, request: Request) -> tuple[str, str]:
        """Return the state of a request now, and who decided."""
        with self._requests() as requests:
            requests.expire()
            found = requests.get(request.number)
            return found.state, found.decided_by

    def _requests(self) -> Requests:
        return Requests(guard_database(), recording())


@contextmanager
def asking_bottle(manifest: str, *, timeout_seconds: float = 900.0) -> Iterator[AskingBottle]:
    """Make the bottle, and remove it when the block ends."""
    slug = state.new_slug("web")
    record = Record(
        slug=slug,
        agent="web",
        bottle="small",
        backend="fake",
        folder="/",
        copied=False,
        harness="claude",
        created_at=time.time(),
    )
    with state.launching(record):
        state.launched(record)
    bottle = AskingBottle(slug, manifest, timeout_seconds)
    try:
        yield bottle
    finally:
        os.close(bottle.presence)
        state.forget(slug)
