"""Measure the same work on the host, in Docker and on each accelerator, in one run: docs/speed.md.

`python -m benchmarks.speed`; about a quarter of an hour, as root for a Docker daemon of its own. The places take turns,
so that what else the host does hits all of them. Nothing fails for being slow; a missed target is shown as such. Ctrl-C
ends the run early; the page is then written from what was measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.command import arguments_parser, write_report
from benchmarks.docker import Docker, docker
from benchmarks.speed import page
from benchmarks.speed.measure import Run
from benchmarks.speed.places import Containers, Host, Machines, Place
from benchmarks.speed.projects import fetch_projects
from benchmarks.speed.rows import ROWS
from pyro_mcp import Pyro
from pyro_mcp.errors import PyroError

_JSON = Path("build/speed.json")


def main() -> int:
    """Measure, write the JSON and the page; return 0 unless something could not be measured at all."""
    parser = arguments_parser(f"{__doc__}\nWith --quick there is one sample of each, and no page.")
    parser.add_argument("--page", action="store_true", help="only write the page again, from the last run")
    arguments = parser.parse_args()
    if not arguments.page:
        measure = partial(_measure, arguments.environment, quick=arguments.quick)
        if status := write_report("speed", _JSON, measure):
            return status
    if not arguments.quick:
        page.write(json.loads(_JSON.read_text()))
        print(f"written to {page.PAGE} and {page.PICTURE}")
    return 0


def _measure(environment: str, *, quick: bool) -> page.Report:
    started = time.monotonic()
    _say("the projects: fetched once, into build/bench")
    projects = fetch_projects()
    # Sockets are made below it, and their paths hold at most 107 bytes.
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyro-bench-")))
        load = page.load_average()
        daemon, why = stack.enter_context(docker())
        absent = {"docker": why} if daemon is None else {}
        places: list[Place] = [Host()]
        if daemon is not None:
            _say("docker gets the root files of the machines")
            stack.enter_context(daemon.image(environment))
            places.append(Containers(daemon))
        for name in ("kvm", "uml", "tcg"):
            _say(f"{name} is prepared")
            try:
                _require(name)
                places.append(Machines(name, environment, state / name))
            except PyroError as error:
                absent[name] = error.message
                _say(f"{name} is left out: {error.message}")
        run = Run(places, projects, quick=quick, say=_say)
        try:
            run.lives()
            run.programs_and_projects()
        except KeyboardInterrupt:
            _say("stopped; what was measured is kept")
            run.left_out |= {row.title: "the run was stopped before it" for row in ROWS if row.title not in run.samples}
    return {
        "host": page.host_facts(environment, _version(daemon), load, (time.monotonic() - started) / 60),
        "columns": [place.name for place in places],
        "absent": absent,
        "left_out": run.left_out,
        "samples": run.samples,
        "outcomes": run.outcomes,
    }


def _require(accelerator: str) -> None:
    """Raise `PyroError` where KVM does not work: forced, it would fail only at the first start."""
    if accelerator == "kvm" and Pyro().doctor()["accelerator"] != "kvm":
        raise PyroError("this host has no KVM that works")


def _version(daemon: Docker | None) -> str:
    return daemon.version if daemon is not None else ""


def _say(what: str) -> None:
    print(f"== {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
