"""The published client of sessions, with the session program on this host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.sessions import Command, Outcome, Program, SessionClient, session_binary


class OnThisHost:
    """Runs the session program as a backend's own function does."""

    def run(self, command: Command) -> Outcome:
        given: Any = (
            {"input": command.stdin or b""} if not hasattr(command.stdin, "fileno") else {"stdin": command.stdin}
        )
        done = subprocess.run(
            command.argv, env=dict(command.environ), capture_output=True, timeout=30, check=False, **given
        )
        if command.on_stdout is not None:
            command.on_stdout(done.stdout)
        return Outcome(done.returncode, done.stdout, done.stderr, len(done.stdout), len(done.stderr), False, None, 0.0)


@pytest.fixture
def client(tmp_path: Path) -> SessionClient:
    folder = tmp_path / "s"
    folder.mkdir(mode=0o700)
    return SessionClient(OnThisHost(), program=[str(session_binary()), str(folder)])


def test_a_program_on_a_terminal_is_typed_to_and_read(client: SessionClient) -> None:
    script = "read -r line; echo got $line in $COLOUR; exit 7"
    program = Program(["/bin/sh", "-c", script], cwd="/", environ={"COLOUR": "red"}, capacity=65536)
    client.open("agent", "terminal", program)
    client.write("agent", b"hello\n")

    status = client.wait("agent", 20_000)

    assert status.exit_code == 7
    _, output = client.read_all("agent", cursor=0, most=65536)
    assert output.decode().splitlines() == ["hello", "got hello in red"]
    attached: list[bytes] = []
    ours, theirs = os.pipe()
    with open(ours, "rb") as keyboard, open(theirs, "wb"):
        client.attach("agent", 0, keyboard, attached.append)
    assert b"".join(attached) == output
    client.forget("agent")


def test_what_is_not_there_is_an_error(client: SessionClient) -> None:
    with pytest.raises(NotFound):
        client.status("agent")
    with pytest.raises(InvalidRequest):
        client.open("agent", "terminal", Program(["/none"], cwd="/", environ={}, capacity=65536))
