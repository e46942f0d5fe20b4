"""The command line as a user has it: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_mcp import Pyro

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `pyro` with words of a command line in an empty home, as if piped, for 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str | bytes, stdin: str = "", timeout: float = 240) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pyro_mcp.cli", *words]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, cwd=home
        )

    return run


@pytest.fixture
def warm_cli(cli: Cli, pyro: Pyro) -> Cli:
    """The same where `debian:12` is warm."""
    pyro.prepare("debian:12")
    return cli
