"""The command on the fake backend: agents are shell scripts, and nothing starts a machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_bottle import state
from claude_bottle.backend.table import backend_named

Cli = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-m", "claude_bottle.cli"]


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project, which is the working folder; no agent may be left at the end."""
    folder = home / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CLAUDE_BOTTLE_FAKE", "1")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    (folder / "greeting.txt").write_text("hello\n")
    yield folder
    for slug in state.slugs():
        backend_named("fake").remove(slug)


Write = Callable[..., None]


@pytest.fixture
def manifest(home: Path) -> Path:
    """The path of the user's manifest."""
    return home / ".config/claude-bottle/bottles.json"


@pytest.fixture
def agent(manifest: Path) -> Write:
    """Writes the user's manifest: the agent `web`, which is a shell script, in the bottle `small`."""

    def write(script: str, *, bottle: dict[str, object] | None = None, **more: object) -> None:
        web = {"bottle": "small", "harness": ["sh", "-c", script, "sh"], **more}
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(json.dumps({"bottles": {"small": bottle or {}}, "agents": {"web": web}}))

    return write


@pytest.fixture
def cli(project: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `claude-bottle` in the project, as if piped, for 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words], input="", capture_output=True, text=True, timeout=timeout, check=False, cwd=project
        )

    return run


def launched(cli: Cli, *words: str) -> str:
    """Launch the agent `web` detached; return the bottle's name."""
    told = cli("run", "web", "--backend", "fake", "-d", *words)
    assert (told.returncode, told.stderr) == (0, "")
    return told.stdout.strip()
