"""Run the suite and write its result into docs/leaks.md: `python -m tests.leaks.table`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyro_mcp.host.files import cache_home
from tests.leaks.suite import LIMIT, Result

TABLE = Path(__file__).parents[2] / "docs" / "leaks.md"
_DEADLINE = 900
WHOLE = "uml"
"""The accelerator on which every attempt is made: the one whose guests have the most to reach."""
WORKSPACE = "workspace"
"""The guests that every attempt is made in first."""
BOTTLES = ("pyro", "docker")
"""The backends of bottles that every attempt is made on."""
_GUESTS = {WORKSPACE: "Workspaces", "pyro": "Bottles on pyro", "docker": "Bottles on docker"}
PART = "tcg"
"""The accelerator on which the first attempt of each group is made."""

_HEAD = """\
# What was tried to get out

Written by `python -m tests.leaks.table`; `tests/leaks` runs it with every test run. A lab in network namespaces plays
the internet, private networks, a metadata service and the host's own services. Each attempt is a program in a real
guest. It counts as blocked only if its canary was alive, which traffic of the same kind from the host has just shown,
and nothing reached it: no packet, no request. `list` is `egress` with `--allow-host` for four names.

Every attempt is made in a workspace, and in bottles on the backends `pyro` and `docker`, as the guest's root. Machines
are on the accelerator `uml`, where the cage is the boundary; the first attempt of each group is made on `tcg` too. In a
bottle `egress` is an allow list of all public addresses and of every name of the lab. `rules` allows GET below /v1 of
one host. Root in a container of the backend `docker` has no CAP_NET_RAW, so the raw packets end there. The backend
`smolmachines` has no column: no real smolvm was there to try it.
"""
_LIMITS = """\
## Not a boundary

An allowed host is trusted with what it is sent; these reach what their canary watches, and are shown so that nobody
thinks otherwise.
"""


def run_suite(
    cache: Path, folder: Path, accelerator: str, kind: str = WORKSPACE, *, part: bool = False
) -> list[Result] | None:
    """Run the suite in namespaces that end with it, and return every result; `cache` holds the images.

    `kind` is what its guests are. None is returned where the host cannot have them: it has no Docker Engine.
    """
    for name in ("state", "files"):
        (folder / name).mkdir(mode=0o700)
    environ = os.environ | {"XDG_CACHE_HOME": str(cache.parent), "XDG_STATE_HOME": str(folder / "state")}
    environ["PYRO_ACCELERATOR"] = accelerator
    spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*spaces, sys.executable, "-m", "tests.leaks.suite", str(folder / "files"), kind, *(["part"] if part else [])],
        cwd=Path(__file__).parents[2],
        env=environ,
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the suite did not end:\n{done.stderr[-3000:]}")
    rows = json.loads(done.stdout.splitlines()[-1])
    return None if rows is None else [Result(**row) for row in rows]


def table(results: Mapping[str, Sequence[Result]]) -> str:
    """Return the document; `results` are those of each kind of guests."""
    first = results[WORKSPACE]
    parts = [_HEAD, *(_total(kind, results[kind]) for kind in results)]
    groups = dict.fromkeys(one.group for one in first if one.group != LIMIT)
    parts += [f"## {name[0].upper()}{name[1:]}\n\n{_rows(name, results)}" for name in groups]
    parts.append(f"{_LIMITS}\n{_rows(LIMIT, results)}")
    return "\n".join(parts)


def _total(kind: str, results: Sequence[Result]) -> str:
    blocked = [one for one in results if not one.reaches]
    held = sum(one.alive and not one.arrived for one in blocked)
    return f"**{_GUESTS[kind]}: {held} of {len(blocked)} attempts were blocked.**\n"


def _rows(group: str, results: Mapping[str, Sequence[Result]]) -> str:
    found = {kind: {one.id: one for one in results[kind]} for kind in results}
    lines = [
        f"| attempt | policy | what is tried | {' | '.join(results)} |",
        "|---|---|---|" + "---|" * len(results),
    ]
    for one in results[WORKSPACE]:
        if one.group == group:
            verdicts = [_verdict(rows[one.id]) if one.id in rows else "–" for rows in found.values()]
            lines.append(f"| `{one.id}` | {one.policy} | {one.what} | {' | '.join(verdicts)} |")
    return "\n".join(lines) + "\n"


def _verdict(one: Result) -> str:
    if not one.alive:
        return "**not shown: the canary was dead**"
    if one.reaches:
        return "**fails**" if not one.arrived else "reaches it" if one.group == LIMIT else "reaches it, as it should"
    return "**ARRIVED**" if one.arrived else "blocked"


def run_bottles(cache: Path, folder: Path) -> dict[str, list[Result] | None]:
    """Run the suite in bottles of each backend, beside each other: both mostly wait for answers that do not come."""
    for kind in BOTTLES:
        (folder / kind).mkdir()
    with ThreadPoolExecutor() as pool:
        running = {kind: pool.submit(run_suite, cache, folder / kind, WHOLE, kind) for kind in BOTTLES}
        return {kind: one.result() for kind, one in running.items()}


def main() -> None:
    """Write the document; nothing is written where a backend cannot run."""
    with tempfile.TemporaryDirectory(prefix="pyro-leaks-", dir="/tmp") as folder:
        workspace = Path(folder, WORKSPACE)
        workspace.mkdir()
        found = {WORKSPACE: run_suite(cache_home(), workspace, WHOLE), **run_bottles(cache_home(), Path(folder))}
    if missing := [kind for kind, results in found.items() if results is None]:
        sys.exit(f"no guests of {', '.join(missing)} can run here: Debian's docker.io cannot be fetched")
    TABLE.write_text(table({kind: results for kind, results in found.items() if results is not None}))


if __name__ == "__main__":
    main()
