"""A model behind Ollama's API uses a virtual machine once, and what it cannot do is told."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.chat_hosts.model_api import Call, Model, Story, served


def using_git() -> Story:
    """A model that does as it is told."""
    answer = yield Call("vm_run", {"command": "git --version"})
    told = json.loads(answer)
    assert told["exit_code"] == 0, told
    return f"It is {told['stdout'].strip()}."


def talking() -> Story:
    """A model that cannot call tools."""
    return "I would run git --version.\x1b[2J"
    yield Call("", {})  # a generator needs one


@contextmanager
def api(story: Story) -> Iterator[tuple[Model, str]]:
    model = Model(story)
    with served(model, socket.create_server(("127.0.0.1", 0))) as address:
        yield model, address


def demo(address: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyro_mcp.cli", "demo", "ollama", "--base-url", address, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def test_a_model_uses_a_machine_once_and_the_last_line_sums_it_up(pyro: Pyro, home: Path) -> None:
    pyro.prepare("debian:12")
    with api(using_git()) as (model, address):
        told = demo(address, "--model", "scripted", cwd=home)

    assert (told.returncode, model.failure) == (0, None), told.stderr
    assert [line[:7] for line in told.stderr.splitlines()] == ["[demo] "] * 4
    assert "the model says: It is git version" in told.stderr
    assert told.stdout.startswith("summary: scripted ran one command in guest_virtio on ")
    assert told.stdout.endswith("exit code 0; the machine is deleted\n") and told.stdout.count("\n") == 1


def test_as_json_it_is_one_document(pyro: Pyro, home: Path) -> None:
    pyro.prepare("debian:12")
    with api(using_git()) as (_, address):
        told = demo(address, "--json", cwd=home)

    result = json.loads(told.stdout)
    assert (result["command"], result["run"]["exit_code"]) == ("git --version", 0)


def test_a_model_that_calls_no_tool_is_told_with_what_it_said(home: Path) -> None:
    with api(talking()) as (_, address):
        told = demo(address, cwd=home)

    assert told.returncode == 5
    assert "did not call vm_run" in told.stderr and "--model" in told.stderr
    assert "\x1b" not in told.stderr


def test_an_api_that_is_not_there_is_told_with_how_to_start_it(home: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        told = demo(f"http://127.0.0.1:{unused.getsockname()[1]}", cwd=home)

    assert told.returncode == 5
    assert "ollama serve" in told.stderr


def test_an_api_that_is_silent_is_given_up(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = demo(f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout-seconds", "0.5", cwd=home)

    assert told.returncode == 9
    assert "within 0.5 s" in told.stderr


@pytest.mark.parametrize("address", ["file:///etc/passwd", "127.0.0.1:11434"])
def test_what_is_no_address_of_an_api_is_refused(address: str, home: Path) -> None:
    told = demo(address, cwd=home)

    assert told.returncode == 2
    assert "is not an address" in told.stderr
