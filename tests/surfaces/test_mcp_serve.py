"""`pyro mcp serve` as it is typed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.surfaces.conftest import Cli


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "1"], "--http"),
        (["--http", "--port", "99999"], "cannot listen"),
        (["--profile", "vm-run", "--mode", "inspect"], "not allowed with"),
        (["--mode", "nothing"], "review-eval"),
        (["--project-path", "/nowhere/at/all"], "not a folder"),
        (["--http", "--token-file", "/nowhere/at/all"], "cannot read"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(cli: Cli, words: list[str], said: str) -> None:
    told = cli("mcp", "serve", *words)

    assert told.returncode != 0 and told.stdout == ""
    assert said in told.stderr and "Traceback" not in told.stderr


def test_on_a_terminal_it_says_what_it_waits_for(home: Path) -> None:
    assert home.exists()
    ours, its = pty.openpty()
    try:
        argv = [sys.executable, "-m", "pyro_mcp.cli", "mcp", "serve"]
        with subprocess.Popen(argv, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
            assert server.stderr is not None
            assert b"waiting for a chat host" in server.stderr.readline()
            os.write(ours, b"\x04")  # Ctrl-D
            assert server.wait(60) == 0
    finally:
        os.close(ours)
        os.close(its)


def test_the_token_is_never_an_argument(cli: Cli) -> None:
    assert "--token " not in cli("mcp", "serve", "--help").stdout
    assert "PYRO_MCP_TOKEN" not in os.environ
