"""The command `claude-bottle` as a user has it, and a project and a user's folder to put manifests into."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ClaudeBottle = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's manifest."""
    folder = tmp_path / "config/claude-bottle"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder.parent))
    return folder


@pytest.fixture
def claude_bottle(project: Path, monkeypatch: pytest.MonkeyPatch) -> ClaudeBottle:
    """Runs `claude-bottle` in the project, as if piped, for 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str, folder: Path = project) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "claude_bottle.cli", *words]
        return subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False, cwd=folder)

    return run
