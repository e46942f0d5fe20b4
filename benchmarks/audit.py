"""Measure the audit journal: decisions added a second, and a journal of many lines verified and searched.

`python -m benchmarks.audit LINES` prints the table. The lines of the large journal are made without its lock and its
head, which takes seconds instead of a minute; they are the same bytes.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Figure, table
from claude_bottle.audit import Entry, Journal, verify
from claude_bottle.audit.head import Head, write_head
from claude_bottle.audit.line import FIRST_PREVIOUS, line_of

_ADDED = 2000
_WHAT = {"host": "files.pythonhosted.org", "port": 443, "protocol": "tls", "method": "GET", "path": "/packages/x.whl"}


def of_journal(lines: int, runs: int) -> list[Figure]:
    """Return every figure about a journal of `lines` lines."""
    with tempfile.TemporaryDirectory(prefix="audit-bench-") as folder:
        small, large = Journal(Path(folder, "small", "journal.jsonl")), Journal(Path(folder, "large", "journal.jsonl"))
        added = [_ADDED / _seconds(lambda: _add(small)) for _ in range(runs)]
        _fill(large, lines)
        found = [_seconds(lambda: next(large.entries(since=lines * 0.999))) * 1000 for _ in range(runs)]
        verified = [lines / _seconds(lambda: _verify(large)) for _ in range(runs)]
    return [
        Figure("audit journal: add", "/s", added, 2000, more_is_better=True),
        Figure(f"audit journal of {lines:,} lines: verify", "/s", verified, 50_000, more_is_better=True),
        Figure(f"audit journal of {lines:,} lines: the last 0.1 %", "ms", found, 20),
    ]


def _seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _add(journal: Journal) -> None:
    for _ in range(_ADDED):
        journal.add(
            "egress", "allowed", slug="web-3f9a1c", bottle="dev", agent="web", who="policy", rule="pypi.org", what=_WHAT
        )


def _fill(journal: Journal, lines: int) -> None:
    journal.path.parent.mkdir(mode=0o700)
    previous, size = FIRST_PREVIOUS, 0
    with journal.path.open("wb") as file:
        for number in range(1, lines + 1):
            entry = Entry(
                number=number,
                at=float(number),
                kind="egress",
                decision="allowed",
                slug="web-3f9a1c",
                bottle="dev",
                agent="web",
                who="policy",
                rule="files.pythonhosted.org:443",
                what=_WHAT,
            )
            line, previous = line_of(entry, previous, 0.0)
            size += file.write(line)
    write_head(journal.head_path, Head(lines, previous, size, float(lines)))


def _verify(journal: Journal) -> None:
    if not verify(journal.path).intact:
        raise RuntimeError("the journal of the benchmark is not intact")


if __name__ == "__main__":
    print(table(of_journal(int(sys.argv[1]), 3)))
    print(f"largest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
