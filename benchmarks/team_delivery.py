"""Kill the processes of a team at random while messages go to its agents; print the table for docs/teams.md.

    .venv/bin/python -m benchmarks.team_delivery [--messages N] [--kills N] [--agents N] [--seed N]

The agents are stand-ins for a harness in tmux (tests/moot/adapters/fake_agent.py), with the real adapters and a real
space server. Nothing may be lost or doubled: otherwise it exits with 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.moot.adapters.team import team
from tests.moot.adapters.weather import Report, storm

_KILLED = ("agent", "channel", "notify", "server")
_ROADS = ("channel", "hook", "tmux")


def main(words: list[str]) -> int:
    """Run one storm, and print what became of its messages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="team-storm-") as folder, team(Path(folder)) as found:
        report = storm(found, messages=given.messages, kills=given.kills, seed=given.seed, agents=given.agents)
    print(_table(report))
    print(*report.doubles, sep="\n")
    return 1 if report.faults else 0


def _table(report: Report) -> str:
    kills = ", ".join(f"{report.kills[one]} × {one}" for one in _KILLED)
    roads = ", ".join(f"{report.roads[one]} × {one}" for one in _ROADS)
    rows = {
        "Messages, and deliveries to agents": f"{report.messages:,}, {report.addressed:,}",
        "Agents": f"{report.agents}: with a channel, with one that drops messages, without one",
        "Killed with `kill -9`": kills,
        "Read by way of": roads,
        "Lost": report.lost,
        "Doubled": report.doubled,
        "Not acknowledged at the server": report.not_acknowledged,
        "Keys pressed in a dialog, or control keys": report.keys_in_dialogs,
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
