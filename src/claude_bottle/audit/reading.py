"""Lines of a journal from a given time on, found by bisection: times in it, `latest` included, never go back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from claude_bottle.audit.line import LONGEST_LINE, entry_of

_NEAR = 64 * 1024
"""The size in bytes below which lines are read one by one, not bisected."""


def lines_from(file: BinaryIO, offset: int) -> Iterator[bytes]:
    """Yield the lines from `offset` on, without newlines; a line that is longer than the limit comes in parts."""
    file.seek(offset)
    while line := file.readline(LONGEST_LINE):
        if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
            return  # being written, or left by a writer that died
        yield line.rstrip(b"\n")


def first_line_at(file: BinaryIO, since: float) -> int:
    """Return the offset of a line such that all lines before it, and only a few after it, are older than `since`."""
    low, high = 0, file.seek(0, 2)  # every line that begins before `low` is older; no line at `high` or later is
    while since > 0 and high - low > _NEAR:
        middle = (low + high) // 2
        found = _first_time_after(file, middle, high)
        if found is None:
            high = middle
        elif found[1] < since:
            low = found[0]
        else:
            high = middle
    return low


def _first_time_after(file: BinaryIO, offset: int, end: int) -> tuple[int, float] | None:
    """Return the first undamaged line that begins after `offset` and before `end`: its offset and its latest time."""
    file.seek(offset)
    file.readline(LONGEST_LINE)
    while (start := file.tell()) < end:
        line = file.readline(LONGEST_LINE)
        found = entry_of(line)
        if found is not None:
            return start, found[1]
    return None
