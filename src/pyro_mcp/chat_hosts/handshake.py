"""Start a server as a chat host would, and see that it answers."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, HostToolMissing
from pyro_mcp.host.process import child_environment, replay_line

PROTOCOL_VERSION = "2025-06-18"
_LONGEST_ANSWER = 4 * 1024 * 1024
_SECONDS_TO_LEAVE = 5.0


@dataclass(frozen=True)
class Greeting:
    """What a server said of itself."""

    name: str
    version: str
    tools: tuple[str, ...]
    milliseconds: float


def handshake(command: Sequence[str], environment: Mapping[str, str], *, deadline_seconds: float = 60) -> Greeting:
    """Start `command` in the root folder, initialize an MCP session with it, list its tools, and end it.

    Raises `HostToolMissing`, `DeadlineExceeded`, or `HostCommandFailed` with the last that the server wrote to stderr.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as stderr, _started(command, environment, stderr) as server:
        talk = _Talk(server, began + deadline_seconds, replay_line(command), stderr)
        client = {"name": "pyro-host-doctor", "version": "1"}
        hello = {"protocolVersion": PROTOCOL_VERSION, "capabilities": {}, "clientInfo": client}
        about = talk.ask(1, "initialize", hello).get("serverInfo", {})
        talk.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        tools = [str(tool.get("name", "")) for tool in talk.ask(2, "tools/list", {}).get("tools", [])]
    took = (time.monotonic() - began) * 1000
    return Greeting(str(about.get("name", "")), str(about.get("version", "")), tuple(tools), took)


@contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str], stderr: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        server = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=child_environment(environment),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise HostToolMissing(f"cannot run {command[0]}: {error.strerror}") from error
    with server:
        try:
            yield server
        finally:
            assert server.stdin is not None
            with suppress(BrokenPipeError):
                server.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                server.wait(_SECONDS_TO_LEAVE)
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


class _Talk:
    """One JSON message a line, both ways, until a deadline."""

    def __init__(self, server: subprocess.Popen[bytes], end: float, replay: str, stderr: IO[bytes]) -> None:
        assert server.stdin is not None and server.stdout is not None
        self._server, self._in, self._out = server, server.stdin, server.stdout
        self._end, self._replay, self._stderr = end, replay, stderr
        self._held = b""

    def say(self, message: Mapping[str, object]) -> None:
        try:
            self._in.write(json.dumps(message).encode() + b"\n")
            self._in.flush()
        except BrokenPipeError:
            raise self._failure("ended at once") from None

    def ask(self, number: int, method: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        """Return the result of a request; other messages of the server are skipped."""
        self.say({"jsonrpc": "2.0", "id": number, "method": method, "params": parameters})
        while True:
            try:
                message = json.loads(self._line())
            except ValueError:
                raise self._failure("wrote something to its standard output that is not the protocol") from None
            if isinstance(message, dict) and message.get("id") == number and "method" not in message:
                result = message.get("result")
                if not isinstance(result, dict):
                    raise self._failure(f"refused {method}: {str(message.get('error'))[:300]}")
                return result

    def _line(self) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while b"\n" not in self._held:
                if not selector.select(max(0.0, self._end - time.monotonic())):
                    raise DeadlineExceeded(f"the server does not answer: {self._replay}", hint=self._said())
                data = os.read(self._out.fileno(), 65536)
                self._held += data
                if not data:
                    raise self._failure("ended before it had answered")
                if len(self._held) > _LONGEST_ANSWER:
                    raise self._failure("does not stop talking")
        line, _, self._held = self._held.partition(b"\n")
        return line

    def _failure(self, how: str) -> HostCommandFailed:
        return HostCommandFailed(f"the server {how}: {self._replay}", hint=self._said())

    def _said(self) -> str:
        self._stderr.flush()
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4096))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-6:]) or "it wrote nothing to its standard error"
