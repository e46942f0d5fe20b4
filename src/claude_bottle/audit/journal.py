"""The journal: decisions are appended and read, by any number of processes and threads at once.

A writer holds a lock, writes one line, then the head. If a process dies between these two writes, the next writer
repairs the end: a complete line becomes part of the chain; an incomplete one is removed, because its writer has not
reported it as written. A writer always continues from the head, so that `verify` finds lines that somebody cut off.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from claude_bottle.audit.head import Head, read_head, write_head
from claude_bottle.audit.line import LONGEST_LINE, Entry, entry_of, line_of, link_of
from claude_bottle.audit.reading import first_line_at, lines_from
from claude_bottle.audit.vocabulary import DECISIONS, Decision, DecisionKind
from pyro_mcp.errors import HostNotReady, InvalidRequest, PyroError
from pyro_mcp.host.files import locked, no_space, private_directory, state_home

_LOCK_SECONDS = 10.0
_FLUSHED = {
    "push",
    "approval",
    "launch",
    "stop",
    "guard",
}  # few; of the others there may be thousands
_FILE = "journal.jsonl"


def user_journal() -> Journal:
    """Return the journal of this user."""
    return Journal(state_home("claude-bottle") / "audit" / _FILE)


def person() -> str:
    """Return who decides with a command of this user: "person NAME".

    The name is that of the user id, not that of a variable of the environment, which anybody sets as he likes.
    """
    try:
        return f"person {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # no name for this user id
        return f"person {os.getuid()}"


class Journal:
    """The journal at `path`, whose folder is private to this user. It holds no open file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head_path = path.with_suffix(".head")
        self._lock = path.with_suffix(".lock")

    def add(
        self,
        kind: DecisionKind,
        decision: Decision,
        *,
        slug: str,
        bottle: str,
        agent: str,
        who: str,
        rule: str,
        what: Mapping[str, object],
    ) -> None:
        """Append one decision, before it takes effect; `DECISIONS` has those of each kind.

        A long text is cut; its length and hash stay in the line. Lines of the kinds push, approval, launch, stop and
        guard are on disk when this returns. Other lines survive the death of processes, but not always a loss of power.
        Raises `PyroError` if the line could not be written: then nothing of it is in the journal, and the caller must
        refuse.
        """
        if kind not in DECISIONS:
            raise InvalidRequest(f"the audit journal has no kind {kind!r}", hint=f"one of {', '.join(DECISIONS)}")
        if decision not in DECISIONS[kind]:
            hint = f"one of {', '.join(DECISIONS[kind])}"
            raise InvalidRequest(f"the audit journal has no decision {decision!r} of the kind {kind}", hint=hint)
        try:
            with self._opened() as fd:
                head = self._taken_over(fd)
                entry = Entry(head.count + 1, time.time(), kind, decision, slug, bottle, agent, who, rule, what)
                line, own = line_of(entry, head.own, head.latest)
                self._append(fd, line, Head(entry.number, own, 0, max(head.latest, entry.at)), flush=kind in _FLUSHED)
        except OSError as error:
            raise _unwritable(error, self.path) from error

    def entries(self, *, since: float = 0.0, slug: str = "", bottle: str = "", kind: str = "") -> Iterator[Entry]:
        """Yield the decisions from the time `since` on, oldest first, without damaged lines."""
        for line in self.lines(since=since):
            found = entry_of(line)
            if found is None or found[0].at < since:
                continue
            entry = found[0]
            if slug in ("", entry.slug) and bottle in ("", entry.bottle) and kind in ("", entry.kind):
                yield entry

    def lines(self, *, since: float = 0.0) -> Iterator[bytes]:
        """Yield the lines from the first one that may be as late as `since`, without reading the lines before it."""
        try:
            with open(self.path, "rb") as file:
                yield from lines_from(file, first_line_at(file, since))
        except FileNotFoundError:
            return

    def offset_of(self, since: float) -> int:
        """Return the offset of the first line that may be as late as `since`; raises `FileNotFoundError`."""
        with open(self.path, "rb") as file:
            return first_line_at(file, since)

    def snapshot(self) -> tuple[Head | None, int]:
        """Return the head and the size of the file that belong together. Raises `PyroError`."""
        try:
            with self._opened() as fd:
                return read_head(self.head_path), os.fstat(fd).st_size
        except OSError as error:
            raise _unwritable(error, self.path) from error

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the journal, create it if it is missing, and keep other writers out."""
        private_directory(self.path.parent)
        with locked(self._lock, deadline_seconds=_LOCK_SECONDS, what="the audit journal"):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self.path, flags, 0o600)
            try:
                yield fd
            finally:
                os.close(fd)

    def _taken_over(self, fd: int) -> Head:
        """Repair what a dead writer left; return the head from which to continue."""
        size, head = os.fstat(fd).st_size, read_head(self.head_path)
        if head is None:
            left = os.pread(fd, LONGEST_LINE + 1, 0)
            if len(left) > LONGEST_LINE or left.count(b"\n") > 1:  # more than a killed first writer leaves
                raise HostNotReady(
                    f"the head of the audit journal is missing or damaged: {self.head_path}",
                    hint=f"'claude-bottle audit verify' checks the journal; move {self.path} away to begin a new one",
                )
            head = Head()
        while size > head.end:
            left = os.pread(fd, LONGEST_LINE, head.end)
            line = left[: left.find(b"\n") + 1]
            link = link_of(line)
            if link is None or not link.intact or (link.number, link.previous) != (head.count + 1, head.own):
                return self._cleaned(fd, head, line, left)
            found = entry_of(line)
            latest = head.latest if found is None else max(head.latest, found[1])
            head = Head(link.number, link.own, head.end + len(line), latest)
        return head

    def _cleaned(self, fd: int, head: Head, line: bytes, left: bytes) -> Head:
        """Remove an incomplete line. Other bytes stay on a separate line, where `verify` finds them."""
        if not line and len(left) < LONGEST_LINE:
            os.ftruncate(fd, head.end)
        elif os.pread(fd, 1, os.fstat(fd).st_size - 1) != b"\n":
            os.write(fd, b"\n")
        return head

    def _append(self, fd: int, line: bytes, head: Head, *, flush: bool) -> None:
        """Write the line and then the head, or nothing."""
        before = os.fstat(fd).st_size
        try:
            written = os.write(fd, line)
            while written < len(line):
                written += os.write(fd, line[written:])
            if flush:
                os.fdatasync(fd)
            write_head(self.head_path, Head(head.count, head.own, before + len(line), head.latest))
        except OSError:
            os.ftruncate(fd, before)
            raise


def _unwritable(error: OSError, path: Path) -> PyroError:
    full = no_space(error, path)
    if isinstance(full, PyroError):
        return full
    return HostNotReady(f"cannot write the audit journal {path}: {error.strerror or error}")
