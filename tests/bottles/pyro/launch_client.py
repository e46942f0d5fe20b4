"""A client that launches a bottle with a command as its agent.

It names each step on standard output, and goes on when it reads a line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from claude_bottle.backend.interface import BottleSpec
from claude_bottle.backend.pyro import backend
from claude_bottle.manifest import Manifest

MANIFEST = {
    "bottles": {"b": {"environment": "debian:12", "resources": {"vcpu_count": 1, "mem_mib": 512}}},
    "agents": {"tester": {"bottle": "b", "harness": ["sleep", "600"]}},
}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    sys.stdin.readline()


def main(slug: str, stage: Path) -> None:
    pyro = backend()
    spec = BottleSpec(Manifest.from_json_obj(MANIFEST), "tester", False, str(stage))
    plan = pyro.plan(spec, slug=slug, stage_dir=stage)
    plan.prompt_file.touch()
    pyro.launch(plan, say)
    say("launched")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
