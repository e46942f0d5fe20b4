"""Launches a bottle as the core does, and kills or interrupts itself at the call of docker with a number.

    python -m tests.bottles.docker.killed_client SIGNAL NUMBER

It writes the slug, and afterwards how many calls there were.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from claude_bottle import state
from claude_bottle.backend import BottleSpec
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.launcher import DockerBackend
from claude_bottle.manifest import Manifest
from tests.bottles.docker.conftest import IMAGE

AGENT_SECONDS = "612.4321"
"""How long its agent sleeps, as no other program does."""


def say(word: str) -> None:
    """Tell the test a word."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    """Launch until the call with the number."""
    wanted, last = int(sys.argv[1]), int(sys.argv[2])
    calls = 0
    run = Engine.run

    def counted(self: Engine, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), wanted)
        return run(self, *arguments, **options)

    setattr(Engine, "run", counted)  # noqa: B010 - mypy refuses the plain assignment
    slug = state.new_slug("killed")
    say(slug)
    stage = state.stage_dir(slug)
    stage.mkdir(parents=True, mode=0o700)
    obj = {
        "bottles": {"test": {"environment": f"oci:{IMAGE}"}},
        "agents": {"test": {"bottle": "test", "harness": ["sleep", AGENT_SECONDS]}},
    }
    backend = DockerBackend()
    spec = BottleSpec(Manifest.from_json_obj(obj), "test", True, os.getcwd())
    plan = backend.plan(spec, slug=slug, stage_dir=stage)
    state.write_prompt(plan.prompt_file, "")
    backend.launch(plan, lambda _: None)
    say(str(calls))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
