"""The changes of requests, agents and decisions, as they happen.

The feed looks at the versions of the journal and of the guard's database four times a second, which costs four calls of
stat(2), and reads only what has changed. It does not wait for inotify events: reading the database causes some itself,
and an agent's new state or the end of a deadline causes none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from claude_bottle.audit import Entry, Journal
from claude_bottle.audit.line import LONGEST_LINE, entry_of
from claude_bottle.guard.changes import requests_version
from claude_bottle.request_facts import HeldPushes
from claude_bottle.results import BottleList, PendingReport, RequestInfo
from pyro_mcp.errors import PyroError
from pyro_mcp.host.files import file_version

PAUSE = 0.25
_REQUESTS_EVERY = 5.0  # their deadlines pass, and guards die, without a change of the database
_AGENTS_EVERY = 3.0
_EARLIER_SECONDS = 3600.0
_MOST_LINES = 500


class Source(HeldPushes, Protocol):
    """The source of bottles and requests, which also decides them; `Bottles` is one."""

    def list(self) -> BottleList: ...
    def pending(self) -> PendingReport: ...
    def approve(self, reference: str) -> RequestInfo: ...
    def deny(self, reference: str) -> RequestInfo: ...


@dataclass(frozen=True)
class News:
    """The changes since the last news; a field is None if nothing has changed in it.

    `problems` maps what cannot be read to the reason; "" when it can be read again.
    """

    agents: BottleList | None = None
    requests: PendingReport | None = None
    decisions: tuple[Entry, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


class Feed:
    """The calls of `tell` with news, from two threads of the caller, until `stop`."""

    def __init__(self, source: Source, journal: Journal, tell: Callable[[News], None]) -> None:
        self._source, self._tell = source, tell
        self._tail = Tail(journal)
        self._stopped, self._agents_now = threading.Event(), threading.Event()

    def stop(self) -> None:
        """End both threads within a fraction of a second."""
        self._stopped.set()
        self._agents_now.set()

    def follow_agents(self) -> None:
        """Tell about the agents every few seconds, and at once when one is launched or stopped."""
        while not self._stopped.is_set():
            try:
                self._tell(News(agents=self._source.list(), problems={"bottles": ""}))
            except PyroError as error:
                self._tell(News(problems={"bottles": error.message}))
            self._agents_now.wait(_AGENTS_EVERY)
            self._agents_now.clear()

    def follow_decisions(self) -> None:
        """Tell about requests and decisions when they change."""
        seen: object = None
        read_at = 0.0
        while not self._stopped.is_set():
            try:
                if decisions := self._tail.more():
                    self._tell(News(decisions=tuple(decisions)))
                    if any(one.kind in ("launch", "stop", "guard") for one in decisions):
                        self._agents_now.set()
                version = requests_version()
                if version != seen or time.monotonic() - read_at > _REQUESTS_EVERY:
                    self._tell(News(requests=self._source.pending(), problems={"requests": ""}))
                    seen, read_at = version, time.monotonic()
            except (PyroError, OSError) as error:
                self._tell(News(problems={"requests": error.message if isinstance(error, PyroError) else str(error)}))
            self._stopped.wait(PAUSE)


class Tail:
    """The lines of a journal as they are added; the first call returns those of the last hour."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._inode, self._offset = 0, 0

    def more(self) -> list[Entry]:
        """Return the decisions that are new; at most the last 500."""
        try:
            with open(self._journal.path, "rb") as file:
                inode, size, _ = file_version(self._journal.path)
                if inode != self._inode:
                    self._inode = inode
                    self._offset = self._journal.offset_of(time.time() - _EARLIER_SECONDS)
                self._offset = min(self._offset, size)
                file.seek(self._offset)
                found = list[Entry]()
                # A longer line is none of a journal, and comes in parts; the last one may be half written.
                while (line := file.readline(LONGEST_LINE)).endswith(b"\n") or len(line) == LONGEST_LINE:
                    self._offset += len(line)
                    if (entry := entry_of(line)) is not None:
                        found.append(entry[0])
                        del found[:-_MOST_LINES]
                return found
        except FileNotFoundError:
            return []
