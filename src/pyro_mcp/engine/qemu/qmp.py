"""A client for the part of QEMU's monitor protocol that we use.

https://www.qemu.org/docs/master/interop/qmp-spec.html
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyro_mcp.engine.sockets import dial
from pyro_mcp.errors import DeadlineExceeded, GuestFailed, GuestGone

_LINE_LIMIT = 4 * 1024 * 1024
_EVENTS_KEPT = 256


class Monitor:
    """A connection to one QEMU's monitor; get one from `monitor`.

    Methods raise `GuestGone` when QEMU ends, `GuestFailed` when it refuses, `DeadlineExceeded`.
    """

    def __init__(self, connection: socket.socket, deadline_seconds: float) -> None:
        self._socket = connection
        self._end = time.monotonic() + deadline_seconds
        self._held = b""
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS_KEPT)
        """The last events that came and that nobody has waited for yet."""

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command and return its `return` value. Underscores in argument names become dashes."""
        return self._execute({name.replace("_", "-"): value for name, value in arguments.items()}, command, ())

    def pass_descriptor(self, name: str, fd: int) -> None:
        """Pass QEMU an open file under `name`, for use as `fd:name`."""
        self._execute({"fdname": name}, "getfd", (fd,))

    def transfer(self, command: str, fd: int) -> None:
        """Save ("migrate") or load ("migrate-incoming") the state of a machine whose memory is a file of its own."""
        capabilities = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
        self.execute("migrate-set-capabilities", capabilities=capabilities)
        self.pass_descriptor("state", fd)
        self.execute(command, uri="fd:state")
        while (status := self.wait_event("MIGRATION")["status"]) != "completed":
            if status == "failed":
                raise GuestFailed(f"QEMU could not {'save' if command == 'migrate' else 'load'} the machine's state")

    def wait_event(self, name: str, **data: Any) -> dict[str, Any]:
        """Wait for the next event `name` whose data includes `data`; return its data."""
        while True:
            for event in self.events:
                found: dict[str, Any] = event.get("data", {})
                if event["event"] == name and data.items() <= found.items():
                    self.events.remove(event)
                    return found
            message = self._receive()
            if "event" in message:
                self.events.append(message)

    def _execute(self, arguments: dict[str, Any], command: str, fds: tuple[int, ...]) -> Any:
        line = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        try:
            if fds:
                socket.send_fds(self._socket, [line], fds)
            else:
                self._socket.sendall(line)
        except TimeoutError as error:
            raise DeadlineExceeded("QEMU's monitor did not take a command in time") from error
        except OSError as error:
            raise GuestGone("QEMU ended before it took a command") from error
        while True:
            message = self._receive()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise GuestFailed(f"QEMU refused {command}: {_reason(message['error'])}")
            elif "return" in message:
                return message["return"]

    def _receive(self) -> dict[str, Any]:
        while b"\n" not in self._held:
            left = self._end - time.monotonic()
            if left <= 0:
                raise DeadlineExceeded("QEMU's monitor did not answer in time")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                raise GuestGone("QEMU ended before it answered a command")
            self._held += data
            if len(self._held) > _LINE_LIMIT:
                raise GuestFailed("QEMU's monitor sent a line of over 4 MiB")
        line, _, self._held = self._held.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("data", {}), dict):
            raise GuestFailed("QEMU's monitor sent something that is not a message")
        return message


def _reason(error: object) -> object:
    return error.get("desc", "no reason given") if isinstance(error, dict) else error


@contextmanager
def monitor(path: Path, *, deadline_seconds: float) -> Iterator[Monitor]:
    """Connect to the monitor socket at `path`; `deadline_seconds` bounds all that is done with it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        try:
            dial(connection, path, deadline_seconds)
        except BlockingIOError as error:
            raise DeadlineExceeded("QEMU's monitor did not answer in time") from error
        connection.settimeout(deadline_seconds)
        session = Monitor(connection, deadline_seconds)
        while "QMP" not in session._receive():
            pass
        session.execute("qmp_capabilities")
        yield session
