"""Kill the space server at random while messages go to agents that disconnect; write the table in docs/space.md.

    .venv/bin/python -m benchmarks.space_delivery [--messages N] [--kills N] [--seed N] [--database NAME]

Databases: sqlite, postgresql; both by default. Nothing may be lost, doubled or out of order: otherwise it exits with 1.
The table is written when both were run.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.moot.server.postgresql import cluster, find_programs, new_database
from tests.moot.server.running import Server, running
from tests.moot.server.storm import Report, weather

_PAGE = Path(__file__).parents[1] / "docs/space.md"
_TABLE = re.compile(r"(?<=<!-- python -m benchmarks.space_delivery -->\n).*?(?=\n<!-- end -->)", re.DOTALL)
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_COLUMNS = (
    "Database",
    "Messages",
    "To agents",
    "`kill -9`",
    "Broken connections",
    "Sends without an answer",
    "Lost",
    "Doubled",
    "Out of order",
    "Not acknowledged",
)


def main(words: list[str]) -> int:
    """Run a storm on each wanted database, print its row, and write the table when all were run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=_NAMES, action="append")
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(words)
    lines, faults = [_cells(_COLUMNS), "|---" * len(_COLUMNS) + "|"], 0
    for kind in given.database or _NAMES:
        with _server(kind) as server:
            report = weather(server, messages=given.messages, kills=given.kills, seed=given.seed)
        print(report, flush=True)
        lines.append(_row(_NAMES[kind], report))
        faults += report.faults
    table = "\n".join(lines)
    print(table)
    if not given.database and not faults:
        _PAGE.write_text(_TABLE.sub(lambda _: table, _PAGE.read_text()))
    return 1 if faults else 0


@contextmanager
def _server(kind: str) -> Iterator[Server]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="space-storm-")))
        options: tuple[str, ...] = ()
        if kind == "postgresql":
            programs = find_programs()
            if programs is None:
                raise SystemExit("PostgreSQL is not installed: make setup-test")
            options = ("--database-url", new_database(stack.enter_context(cluster(programs))))
        yield stack.enter_context(running(folder, *options))


def _row(name: str, report: Report) -> str:
    numbers = (
        report.messages,
        report.receivers,
        report.kills,
        report.disconnects,
        report.unanswered,
        report.lost,
        report.doubled,
        report.out_of_order,
        report.not_acknowledged,
    )
    return _cells((name, *(f"{number:,}" for number in numbers)))


def _cells(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
