"""Run the suite and write its result into docs/leaks.md: `python -m tests.leaks.table`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pyro_mcp.host.files import cache_home
from tests.leaks.suite import LIMIT, Result

TABLE = Path(__file__).parents[2] / "docs" / "leaks.md"
_DEADLINE = 900
WHOLE = "uml"
"""The accelerator on which every attempt is made: the one whose guests have the most to reach."""
PART = "tcg"
"""The accelerator on which the first attempt of each group is made."""

_HEAD = """\
# What was tried to get out

Written by `python -m tests.leaks.table`; `tests/leaks` runs it with every test run. A lab in network namespaces plays
the internet, private networks, a metadata service and the host's own services. Each attempt is a program in a real
guest. It counts as blocked only if its canary was alive, which traffic of the same kind from the host has just shown,
and nothing reached it: no packet, no request. `list` is `egress` with `--allow-host` for four names.

Every attempt is made on the accelerator `uml`, where the cage is the boundary; the first of each group on `tcg` too.
"""
_LIMITS = """\
## Not a boundary

An allowed host is trusted with what it is sent; these reach what their canary watches, and are shown so that nobody
thinks otherwise.
"""


def run_suite(cache: Path, folder: Path, accelerator: str, *, part: bool = False) -> list[Result]:
    """Run the suite in namespaces that end with it, and return every result; `cache` holds the images."""
    for name in ("state", "files"):
        (folder / name).mkdir(mode=0o700)
    environ = os.environ | {"XDG_CACHE_HOME": str(cache.parent), "XDG_STATE_HOME": str(folder / "state")}
    environ["PYRO_ACCELERATOR"] = accelerator
    spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*spaces, sys.executable, "-m", "tests.leaks.suite", str(folder / "files"), *(["part"] if part else [])],
        cwd=Path(__file__).parents[2],
        env=environ,
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the suite did not end:\n{done.stderr[-3000:]}")
    return [Result(**row) for row in json.loads(done.stdout)]


def table(results: Sequence[Result]) -> str:
    """Return the document."""
    blocked = [one for one in results if not one.reaches]
    held = sum(one.alive and not one.arrived for one in blocked)
    parts = [_HEAD, f"**{held} of {len(blocked)} attempts were blocked.**\n"]
    rest = [one for one in results if one.group != LIMIT]
    groups = dict.fromkeys(one.group for one in rest)
    parts += [
        f"## {name[0].upper()}{name[1:]}\n\n{_rows([one for one in rest if one.group == name])}" for name in groups
    ]
    parts.append(f"{_LIMITS}\n{_rows([one for one in results if one.group == LIMIT])}")
    return "\n".join(parts)


def _rows(results: Sequence[Result]) -> str:
    lines = ["| attempt | policy | what is tried | result |", "|---|---|---|---|"]
    lines += [f"| `{one.id}` | {one.policy} | {one.what} | {_verdict(one)} |" for one in results]
    return "\n".join(lines) + "\n"


def _verdict(one: Result) -> str:
    if not one.alive:
        return "**not shown: the canary was dead**"
    if one.reaches:
        return (
            "reaches it, as it should"
            if one.arrived and one.group != LIMIT
            else "reaches it"
            if one.arrived
            else "**fails**"
        )
    return "**ARRIVED**" if one.arrived else "blocked"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pyro-leaks-", dir="/tmp") as folder:
        TABLE.write_text(table(run_suite(cache_home(), Path(folder), WHOLE)))


if __name__ == "__main__":
    main()
