"""The check that no line of a journal was changed, removed, added or moved, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from claude_bottle.audit.head import Head
from claude_bottle.audit.journal import Journal
from claude_bottle.audit.line import FIRST_PREVIOUS, LONGEST_LINE, Link, link_of

Fault = Literal["changed", "missing", "moved", "repeated", "foreign", "head", "mark"]

_MOST_PROBLEMS = 100
_MOST_GAPS = 1000
_PROGRESS_EVERY = 4096


@dataclass(frozen=True)
class Mark:
    """The number and the hash of one line, kept elsewhere to be compared with the journal later."""

    number: int
    own: str


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: "changed", "missing", "moved", "repeated", "foreign", "head" or "mark".

    `first` and `last` are numbers of lines as their writers counted them; for a line without a number they are the
    number that it should have. `row` is the place in the file, from 1; 0 when the problem has none.
    """

    what: Fault
    first: int
    last: int
    row: int
    message: str


@dataclass
class Verification:
    """What a check found: the first hundred problems, and how many there are. `end` is the last line."""

    lines: int = 0
    end: Mark = Mark(0, FIRST_PREVIOUS)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem_count == 0


def verify(
    path: Path, *, mark: Mark | None = None, progress: Callable[[int, float], None] = lambda _lines, _fraction: None
) -> Verification:
    """Check the journal at `path` up to its present end; other processes may go on writing.

    `mark` is the end of an earlier check: the journal must still have that line. `progress` gets the number of lines
    and the fraction that are checked. Raises `PyroError` if the journal cannot be read.
    """
    head, size = Journal(path).snapshot()
    chain = _Chain(head, mark)
    with closing(_rows(path, size)) as rows:
        for row, (line, offset) in enumerate(rows, 1):
            chain.check(row, line)
            if row % _PROGRESS_EVERY == 0:
                progress(row, offset / size)
    return chain.ended()


def _rows(path: Path, size: int) -> Generator[tuple[bytes, int], None, None]:
    """Yield the lines below `size` with the offset of their end; an incomplete last line does not count."""
    offset = 0
    with open(path, "rb", buffering=1 << 20) as file:
        os.posix_fadvise(file.fileno(), 0, size, os.POSIX_FADV_SEQUENTIAL)
        while offset < size and (line := file.readline(min(LONGEST_LINE, size - offset))):
            offset += len(line)
            if line.endswith(b"\n") or len(line) == LONGEST_LINE:
                yield line, offset


class _Chain:
    """The check of one line after the other.

    The next line must have the number `_expected` and name the hash `_previous`. `_previous` is "" after a line with a
    wrong hash: that fault is reported already, and the next line cannot be checked against it.
    """

    def __init__(self, head: Head | None, mark: Mark | None) -> None:
        self._head, self._mark = head, mark
        self._expected, self._previous = 1, FIRST_PREVIOUS
        self._gaps: list[range] = []
        self._marked = mark is None or mark.number == 0
        self._found = Verification()

    def check(self, row: int, line: bytes) -> None:
        """Check the next line of the file."""
        self._found.lines += 1
        link = link_of(line)
        if link is None:
            self._unreadable(row)
        elif link.number < self._expected:
            self._earlier(row, link)
        else:
            self._later(row, link)

    def ended(self) -> Verification:
        """Return what was found, after the check of the file's end."""
        last = self._expected - 1
        for gap in self._gaps:
            text = f"line {gap[0]} is missing" if len(gap) == 1 else f"lines {gap[0]} to {gap[-1]} are missing"
            self._problem("missing", gap[0], gap[-1], 0, text)
        if self._head is None and last > 1:
            self._problem("head", last, last, 0, "the head file is missing or damaged: lines may be cut off at the end")
        elif self._head is not None and self._head.count > last:
            text = f"the last lines, {last + 1} to {self._head.count}, are missing"
            self._problem("missing", last + 1, self._head.count, 0, text)
        elif self._head is not None and self._head.count + 1 < last:  # one: its writer was killed before the head
            text = f"no writer of the journal wrote lines {self._head.count + 1} to {last}: they are not in its head"
            self._problem("foreign", self._head.count + 1, last, 0, text)
        if not self._marked and self._mark is not None:
            text = f"line {self._mark.number} with the hash {self._mark.own} is not in the journal"
            self._problem("mark", self._mark.number, self._mark.number, 0, text)
        self._found.problems.sort(key=lambda one: (one.first, one.row))
        self._found.end = Mark(last, self._previous)
        return self._found

    def _unreadable(self, row: int) -> None:
        """Report a row without the form of a line: it was added if the next line has its number, else changed."""
        number = self._expected
        self._problem("changed", number, number, row, f"row {row} of the file is damaged: it is no line of a journal")
        self._previous = ""

    def _earlier(self, row: int, link: Link) -> None:
        number = link.number
        gap = next((one for one in self._gaps if number in one), None)
        if gap is None:
            self._problem("repeated", number, number, row, f"row {row} repeats the number of line {number}")
        else:
            self._gaps.remove(gap)
            self._gaps += [part for part in (range(gap[0], number), range(number + 1, gap[-1] + 1)) if part]
            text = f"line {number} was moved: it is at row {row}, after line {self._expected - 1}"
            self._problem("moved", number, number, row, text)
        if not link.intact:
            self._problem("changed", number, number, row, f"line {number} was changed")
        self._compare(row, link)

    def _later(self, row: int, link: Link) -> None:
        number = link.number
        if number > self._expected:
            if len(self._gaps) < _MOST_GAPS:
                self._gaps.append(range(self._expected, number))
            else:
                self._problem("missing", self._expected, number - 1, row, f"lines before line {number} are missing")
        elif self._previous and link.previous != self._previous:
            before = max(1, number - 1)
            text = f"line {number} does not follow line {number - 1}: one of them was changed and given a new hash"
            self._problem("changed", before, number, row, text)
        if not link.intact:
            self._problem("changed", number, number, row, f"line {number} was changed")
        self._expected, self._previous = number + 1, link.own if link.intact else ""
        self._compare(row, link)

    def _compare(self, row: int, link: Link) -> None:
        """Compare a line with the head and with the mark."""
        if self._head is not None and link.number == self._head.count and link.intact and link.own != self._head.own:
            text = f"line {link.number} is not the one that the head file names: it was changed and given a new hash"
            self._problem("changed", link.number, link.number, row, text)
        if self._mark is not None and link.intact and (link.number, link.own) == (self._mark.number, self._mark.own):
            self._marked = True

    def _problem(self, what: Fault, first: int, last: int, row: int, message: str) -> None:
        self._found.problem_count += 1
        if len(self._found.problems) < _MOST_PROBLEMS:
            self._found.problems.append(Problem(what, first, last, row, message))
