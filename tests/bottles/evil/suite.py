"""Make every attempt on one backend, and print the results as one JSON list: `python -m … BACKEND FOLDER [ID...]`.

It runs in namespaces of its own, on the host of the lab of tests/leaks. `null` is printed where the backend cannot run.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.bottles.evil.attempts import ATTEMPTS
from tests.bottles.evil.record import Result, result_of
from tests.bottles.evil.stage import Stage, staged
from tests.leaks.guests import ENVIRONMENT, LAB_IMAGE, NoEngine, Workspaces, engine
from tests.leaks.lab import Lab


def run(stage: Stage, chosen: list[str]) -> list[Result]:
    """Make the attempts one after the other."""
    results = []
    for id_, one in ATTEMPTS.items():
        if chosen and id_ not in chosen:
            continue
        began = time.monotonic()
        stage.look()
        stage.seen = ""
        results.append(result_of(one, one.run(stage)))
        stage.deny_all()
        found = results[-1]
        verdict = "ok" if found.alive and not found.reached else f"NOT HELD {found}"
        print(f"{time.monotonic() - began:6.2f} s  {id_}: {verdict}", file=sys.stderr, flush=True)  # noqa: T201
    return results


def main() -> None:
    backend, folder, *chosen = sys.argv[1:]
    with ExitStack() as stack:
        try:
            if backend == "docker":
                stack.enter_context(engine(Path(folder)))
            lab = stack.enter_context(Lab(Path(folder), Workspaces()).running())
            environment = f"oci:{LAB_IMAGE}" if backend == "docker" else ENVIRONMENT
            stage = stack.enter_context(staged(Path(folder), lab, backend, environment))
            results = [asdict(one) for one in run(stage, chosen)]
        except NoEngine:
            results = None
    print(json.dumps(results))  # noqa: T201


if __name__ == "__main__":
    main()
