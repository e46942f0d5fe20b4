"""Measure snapshot, start, reset and fork after 1 to 500 snapshots, all of them kept: docs/cost-by-history.txt.

`python -m benchmarks.by_history`; about three minutes. Each must be level: no cost grows with the history.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Figure, milliseconds
from benchmarks.workspaces import workspace
from pyro_mcp import Pyro

_COUNTS = [1, 100, 200, 300, 400, 500]
_RUNS = 9
_TARGET = Path("docs/cost-by-history.txt")
_VERBS = ("snapshot", "start", "reset", "fork")

Costs = Mapping[int, Mapping[str, float]]


def of_history(environment: str, state: Path, snapshots: int, runs: int) -> list[Figure]:
    """Return how many times as long each verb takes after so many snapshots as after the first."""
    costs = by_history(environment, state, [1, snapshots], runs)
    return [
        Figure(f"{verb} after {snapshots} snapshots ÷ after 1", "×", [costs[snapshots][verb] / costs[1][verb]], 1.2)
        for verb in _VERBS
    ]


def by_history(environment: str, state: Path, counts: Sequence[int], runs: int) -> Costs:
    """Return the best of some runs of each verb in milliseconds, by the number of snapshots of the workspace."""
    pyro, found = Pyro(state=state), {}
    with workspace(pyro, environment, None) as id_:
        recent: list[float] = []
        for number in range(1, counts[-1] + 1):
            pyro.exec_workspace(id_, command=f"head -c 100000 /dev/urandom > file{number}")
            recent.append(milliseconds(pyro.create_snapshot, id_, f"s{number}"))
            if number in counts:
                found[number] = {
                    "snapshot": min(recent[-2 * runs :]),
                    "start": min(_restarted(pyro, id_) for _ in range(runs)),
                    "reset": min(_reset(pyro, id_, f"s{number}") for _ in range(runs)),
                    "fork": min(_forked(pyro, id_) for _ in range(runs)),
                }
    return found


def _restarted(pyro: Pyro, id_: str) -> float:
    pyro.stop_workspace(id_)
    return milliseconds(pyro.start_workspace, id_)


def _reset(pyro: Pyro, id_: str, snapshot: str) -> float:
    return pyro.reset_workspace(id_, snapshot=snapshot)["duration_ms"]


def _forked(pyro: Pyro, id_: str) -> float:
    fork = pyro.fork_workspace(id_)
    pyro.delete_workspace(fork["workspace_id"])
    return fork["duration_ms"]


def main() -> int:
    """Measure, write the file, print the figures."""
    with tempfile.TemporaryDirectory(prefix="pyro-bench-") as state:
        Pyro(state=Path(state, "pyro-mcp")).prepare("debian:12")
        text = "\n".join(_rows(by_history("debian:12", Path(state, "pyro-mcp"), _COUNTS, _RUNS)))
    _TARGET.write_text(f"{text}\n")
    print(text)
    return 0


def _rows(costs: Costs) -> Iterator[str]:
    yield f"{f'best of {_RUNS}, ms':20}" + "".join(f"{name:>12}" for name in _VERBS)
    for count, found in costs.items():
        yield f"{count:>9,} snapshots" + " " + "".join(f"{found[name]:>12.0f}" for name in _VERBS)


if __name__ == "__main__":
    sys.exit(main())
