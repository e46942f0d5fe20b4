"""The server as clients have it: the real client of the SDK, over real streams."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from pyro_mcp import Pyro

SERVER = Path(__file__).with_name("fake_server.py")
ROOT = Path(__file__).parents[2]
Result = TypeVar("Result")
Talk = Callable[[Client], Awaitable[Result]]


def serving(*words: str) -> list[str]:
    """The command that starts the server over the fake engine."""
    return [sys.executable, str(SERVER), *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def conversation(talk: Talk[Result], command: list[str], *, mode: str = "auto", seconds: float = 120) -> Result:
    """What a conversation with a server of its own comes to."""

    async def run() -> Result:
        parameters = StdioServerParameters(command=command[0], args=command[1:], env=environment())
        with anyio.fail_after(seconds):
            async with Client(stdio_client(parameters), mode=mode) as client:
                return await talk(client)

    return anyio.run(run)


@pytest.fixture
def fake_home(home: Path, warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose cache holds `debian:12`, so that the fake engine has something to start."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache.parent))
    return home


class Raw:
    """A server's process, and single messages to and from it."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self._held = b""

    def say(self, message: bytes | dict[str, Any]) -> None:
        line = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.stdin.write(line + b"\n")
        self.stdin.flush()

    def call(self, number: int, name: str, **arguments: Any) -> None:
        self.say({"id": number, "method": "tools/call", "params": {"name": name, "arguments": arguments}})

    def hear(self, seconds: float = 30) -> dict[str, Any]:
        """The next message."""
        end = time.monotonic() + seconds
        while b"\n" not in self._held:
            assert select.select([self.stdout], [], [], max(0, end - time.monotonic()))[0], "the server is silent"
            data = os.read(self.stdout.fileno(), 1 << 16)
            assert data, "the server has ended"
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        heard = json.loads(line)
        assert isinstance(heard, dict)
        return heard

    def greet(self) -> None:
        """The handshake of a host of today."""
        client = {"name": "raw", "version": "1"}
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        self.say({"id": 0, "method": "initialize", "params": hello})
        assert self.hear()["id"] == 0
        self.say({"method": "notifications/initialized"})

    def workspace(self) -> str:
        """A new workspace's id."""
        self.call(1, "workspace_create")
        made = self.hear()["result"]["structuredContent"]["workspace_id"]
        assert isinstance(made, str)
        return made


@pytest.fixture
def raw(fake_home: Path) -> Iterator[Raw]:
    """A server over the fake engine that has been greeted."""
    assert fake_home.exists()
    with started(serving()) as server:
        server.greet()
        yield server


@contextmanager
def started(command: list[str]) -> Iterator[Raw]:
    """A server of its own, for as long as the block runs."""
    server = Raw(command)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait(30)
        for stream in (server.stdin, server.stdout, server.stderr):
            with suppress(BrokenPipeError):
                stream.close()


@pytest.fixture
def converse(fake_home: Path) -> Callable[..., Any]:
    """Has a conversation with a server over the fake engine; what that comes to."""
    assert fake_home.exists()
    return partial(conversation, command=serving())


@pytest.fixture
def offline_pyro(home: Path) -> Pyro:
    """The SDK in an empty home: enough to ask what a server offers."""
    assert home.exists()
    return Pyro()
