"""Make every attempt on both backends and write docs/hostile-agent.md: `python -m tests.bottles.evil.table`."""

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
from tests.bottles.evil.record import Result
from tests.leaks.cases import cases
from tests.style.project import ROOT

TABLE = ROOT / "docs" / "hostile-agent.md"
BACKENDS = ("pyro", "docker")
_DEADLINE = 400
_SPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]

_HEAD = """\
# What a hostile agent in a bottle tried

Written by `python -m tests.bottles.evil.table`; `tests/bottles/evil` makes every attempt with each test run. A program
that wants to harm its user runs as the agent of a bottle, as the bottle's root, on the backends `pyro` (accelerator
`uml`) and `docker`. The bottle has hosts that it may reach, secrets, a git remote, a budget, and may ask a person for
more. Two other bottles run beside it. The network is the lab of [leaks.md](leaks.md).

An attempt counts as **held**, which means stopped, only if one run shows two things. Its positive control, the same
thing done in the allowed or approved way, had its effect. The attempt itself had none. The tests look for an effect
where it would be: in the packets and requests of canaries, the refs of the upstream, the model's count of requests, the
sockets and files of the host. They never rely on what the agent says. To find out if the agent has learned a secret,
they let it send all that it found to an allowed host, and read that host's log. T1 to T15 number the kinds of attack.

The test of a row is `tests/bottles/evil/test_evil.py::test_a_hostile_agent_achieves_nothing[BACKEND-ATTEMPT]`.
"""
_THREATS = {
    "T1": "Around the gateway",
    "T2": "Names",
    "T3": "Hosts that look allowed",
    "T4": "Requests that are read in two ways",
    "T5": "Secrets",
    "T7": "Files",
    "T8": "The host's kernel and processes",
    "T9": "Sockets of others",
    "T10": "Git",
    "budget": "Budget",
    "T11": "Something is killed",
    "T12": "What a person decides and sees",
    "T13": "Other agents",
}
_IN_LEAKS = {
    "T1": (
        "no policy",
        "host",
        "odd spellings",
        "private networks",
        "raw packets",
        "IPv6",
        "proxy variables",
        "allow list",
    ),
    "T2": ("DNS", "cached answers"),
    "T3": ("names inside", "wildcards"),
    "T4": ("rules for requests",),
    "T11": ("the gateway dies",),
}
_MORE = {
    "T2": ["tests/network/test_dns.py"],
    "T3": ["tests/network/test_parser_fuzz.py"],
    "T4": ["tests/network/test_tls_proxy_rules.py", "tests/bottles/gate/test_requests.py"],
    "T5": ["tests/network/test_host_secret.py", "tests/network/test_secret_places.py"],
    "T7": ["tests/bottles/docker/test_tree.py", "tests/bottles/manifest/test_trust.py"],
    "T8": ["tests/bottles/docker/test_containment.py", "tests/network/test_hostile_process.py"],
    "T10": ["tests/bottles/gate/test_refused_pushes.py", "tests/bottles/gate/test_misleading_pushes.py"],
    "budget": ["tests/bottles/budget/test_ledger.py", "tests/network/test_metered_proxy.py"],
    "T11": ["tests/bottles/guard/test_killed_pushes.py", "tests/bottles/guard/test_process.py"],
    "T12": ["tests/bottles/guard/test_approvals.py", "tests/bottles/page/test_page.py"],
    "T13": ["tests/bottles/guard/test_forging.py"],
}
_NOT_HERE = """\
## What is not tried, and why

* **Data for allowed hosts** (T6). An allowed host may receive all that the agent can read: [leaks.md](leaks.md) shows
  that it does. The gateway has no limit on bytes, and reads no content.
* **Faults of a kernel or a hypervisor** (the other part of T8). The table tries what is permitted by a setting. On
  `docker` an agent has the host's kernel itself as its target; [SECURITY.md](../SECURITY.md) says what is a boundary.
* **A setting that the agent leaves for the next launch** (part of T7). Each launch makes a new bottle from the image.
  What stays is a kept login: [SECURITY.md](../SECURITY.md#secrets).
* **Messages between agents** (the other part of T13), **delivery and status** (T14, T15). Bottles have no way to each
  other. The agents of a team meet in a space, which has its own tests.
* **AF_VSOCK, AF_ALG and io_uring** (part of T9). They are not the same on all hosts that run these tests, so the table
  would differ.
* **The backend `smolmachines`**: no real smolvm was there to try it.
"""


def run_suite(cache: Path, folder: Path, backend: str) -> list[Result] | None:
    """Run the suite on one backend in namespaces that end with it; None where the host cannot have such bottles."""
    for name in ("state", "files", "run"):
        (folder / name).mkdir(mode=0o700)
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "CLAUDE", "GIT_"))
    }
    environ |= {"XDG_CACHE_HOME": str(cache.parent), "PYRO_ACCELERATOR": "uml"}
    environ |= {"XDG_STATE_HOME": str(folder / "state"), "XDG_RUNTIME_DIR": str(folder / "run")}
    done = subprocess.run(
        [*_SPACES, sys.executable, "-m", "tests.bottles.evil.suite", backend, str(folder / "files")],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the suite did not end:\n{done.stderr[-4000:]}")
    rows = json.loads(done.stdout.splitlines()[-1])
    return None if rows is None else [Result(**row) for row in rows]


def run_both(cache: Path, folder: Path) -> dict[str, list[Result] | None]:
    """Run the suite on both backends, beside each other."""
    for backend in BACKENDS:
        (folder / backend).mkdir()
    with ThreadPoolExecutor() as pool:
        running = {one: pool.submit(run_suite, cache, folder / one, one) for one in BACKENDS}
        return {one: found.result() for one, found in running.items()}


def table(results: Mapping[str, Sequence[Result]]) -> str:
    """Return the document; `results` are those of each backend."""
    parts = [_HEAD]
    for backend, found in results.items():
        held = sum(map(_held, found))
        parts.append(f"**On `{backend}`: {held} of {len(found)} attempts were held.**\n")
    for threat, title in _THREATS.items():
        parts.append(
            f"## {title}{f' ({threat})' if threat.startswith('T') else ''}\n\n{_beside(threat)}{_rows(threat, results)}"
        )
    return "\n".join([*parts, _NOT_HERE])


def _held(one: Result) -> bool:
    return one.alive and not one.reached


def _beside(threat: str) -> str:
    """Return where the other attempts of a class are."""
    groups = _IN_LEAKS.get(threat, ())
    count = sum(one.group in groups for one in cases())
    leaks = [f"[leaks.md](leaks.md) has {count} more attempts" if count else "[leaks.md](leaks.md)"] if groups else []
    more = [f"`{name}`" for name in _MORE.get(threat, [])]
    return f"More: {', '.join([*leaks, *more])}.\n\n" if leaks or more else ""


def _rows(threat: str, results: Mapping[str, Sequence[Result]]) -> str:
    found = {backend: {one.id: one for one in rows} for backend, rows in results.items()}
    lines = [
        f"| attempt | what is tried | positive control | seen by | {' | '.join(results)} |",
        "|---|---|---|---|" + "---|" * len(found),
    ]
    for one in next(iter(results.values())):
        if one.threat == threat:
            verdicts = " | ".join(_verdict(rows[one.id]) for rows in found.values())
            lines.append(f"| `{one.id}` | {one.what} | {one.control} | {one.oracle} | {verdicts} |")
    return "\n".join(lines) + "\n"


def _verdict(one: Result) -> str:
    if not one.alive:
        return "**not shown: the control failed**"
    return "**ACHIEVED**" if one.reached else "held"


def main() -> None:
    """Write the document; nothing is written where a backend cannot run."""
    with tempfile.TemporaryDirectory(prefix="pyro-evil-", dir="/tmp") as folder:
        found = run_both(cache_home(), Path(folder))
    if missing := [backend for backend, results in found.items() if results is None]:
        sys.exit(f"no bottles of {', '.join(missing)} can run here: Debian's docker.io cannot be fetched")
    TABLE.write_text(table({backend: results for backend, results in found.items() if results is not None}))


if __name__ == "__main__":
    main()
