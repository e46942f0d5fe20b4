"""The monitor's client against a scripted QEMU, good and bad."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp.engine.qemu.qmp import Monitor, monitor
from pyro_mcp.errors import DeadlineExceeded, GuestFailed, GuestGone

DEADLINE = 20.0


class Server:
    """QEMU's end of a monitor's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._lines = connection.makefile("rb")

    def greet(self) -> None:
        self.send({"QMP": {"version": {}, "capabilities": []}})
        assert self.receive()["execute"] == "qmp_capabilities"
        self.send({"return": {}})

    def send(self, *messages: object) -> None:
        self.socket.sendall(b"".join(json.dumps(message).encode() + b"\r\n" for message in messages))

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._lines.readline())
        return message

    def wait_for_the_end(self) -> None:
        assert self._lines.read() == b""

    def close(self) -> None:
        self._lines.close()


@contextmanager
def facing(path: Path, behaviour: Callable[[Server], None], *, seconds: float = DEADLINE) -> Iterator[Monitor]:
    """A monitor whose QEMU greets, then does what `behaviour` says, and closes."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(DEADLINE)
            server = Server(connection)
            try:
                server.greet()
                behaviour(server)
            finally:
                server.close()

    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(DEADLINE)
        listener.bind(str(path / "monitor"))
        listener.listen()
        done = pool.submit(serve)
        with monitor(path / "monitor", deadline_seconds=seconds) as session:
            yield session
        done.result(DEADLINE)


def answering(*messages: object) -> Callable[[Server], None]:
    def behaviour(server: Server) -> None:
        server.receive()
        server.send(*messages)

    return behaviour


def test_arguments_reach_qemu_with_dashes_and_its_answer_comes_back(home: Path) -> None:
    asked = []

    def behaviour(server: Server) -> None:
        asked.append(server.receive())
        server.send({"return": {"status": "running"}})

    with facing(home, behaviour) as session:
        assert session.execute("query-status", some_name=1) == {"status": "running"}
    assert asked == [{"execute": "query-status", "arguments": {"some-name": 1}}]


def test_a_refusal_names_the_command_and_qemus_reason(home: Path) -> None:
    refusal = {"error": {"class": "GenericError", "desc": "no such thing"}}
    with (
        facing(home, answering(refusal)) as session,
        pytest.raises(GuestFailed, match="refused migrate: no such thing"),
    ):
        session.execute("migrate")


def test_events_before_an_answer_are_kept_in_order(home: Path) -> None:
    events = [{"event": "MIGRATION", "data": {"status": status}} for status in ("setup", "active")]
    with facing(home, answering(*events, {"event": "STOP"}, {"return": 1})) as session:
        assert session.execute("stop") == 1
        assert [session.wait_event("MIGRATION")["status"] for _ in events] == ["setup", "active"]
        assert session.wait_event("STOP") == {}


def test_the_event_that_is_waited_for_is_told_by_its_data(home: Path) -> None:
    events = [{"event": "JOB", "data": {"id": id_, "size": 1}} for id_ in ("other", "ours")]
    with facing(home, answering({"return": 1}, *events)) as session:
        session.execute("start")
        assert session.wait_event("JOB", id="ours") == {"id": "ours", "size": 1}
        assert session.wait_event("JOB") == {"id": "other", "size": 1}


def test_a_descriptor_is_handed_over_under_its_name(home: Path) -> None:
    def behaviour(server: Server) -> None:
        line, fds, _, _ = socket.recv_fds(server.socket, 4096, 1)
        assert json.loads(line) == {"execute": "getfd", "arguments": {"fdname": "state"}}
        with open(fds[0], "wb") as file:
            file.write(b"here")
        server.send({"return": {}})

    with facing(home, behaviour) as session, (home / "saved").open("wb") as state:
        session.pass_descriptor("state", state.fileno())
    assert (home / "saved").read_bytes() == b"here"


def test_an_answer_in_pieces_is_put_together(home: Path) -> None:
    def behaviour(server: Server) -> None:
        server.receive()
        for byte in b'{"return": "whole"}\r\n':
            server.socket.sendall(bytes([byte]))

    with facing(home, behaviour) as session:
        assert session.execute("query") == "whole"


@pytest.mark.parametrize("messages", [(), ({"event": "SHUTDOWN"},)])
def test_a_qemu_that_ends_is_gone(home: Path, messages: tuple[object, ...]) -> None:
    with facing(home, answering(*messages)) as session, pytest.raises(GuestGone):
        session.execute("query-status")


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"\xff\xfe\0\n",
        b"\n",
        b"[1, 2]\n",
        b'"text"\n',
        b"[" * 100_000 + b"\n",
        b'{"event": "X", "data": 3}\n',
        b'{"error": "just words"}\n',
        b'{"error": {}}\n',
        b'{"error": null}\n',
        b'{"return": ' + b"9" * 5000 + b"}\n",
        b"x" * (4 * 1024 * 1024 + 1),
    ],
    ids=lambda line: repr(line[:20]),
)
def test_what_is_not_a_message_is_a_failure_of_the_guest(home: Path, line: bytes) -> None:
    def behaviour(server: Server) -> None:
        server.receive()
        server.socket.sendall(line)

    with facing(home, behaviour) as session, pytest.raises(GuestFailed):
        session.execute("query-status")


def test_silence_ends_at_the_deadline(home: Path) -> None:
    started = time.monotonic()

    def behaviour(server: Server) -> None:
        server.receive()
        server.wait_for_the_end()

    with facing(home, behaviour, seconds=0.2) as session, pytest.raises(DeadlineExceeded):
        session.execute("query-status")
    assert 0.2 <= time.monotonic() - started < DEADLINE


def test_events_without_end_cost_no_memory_and_end_at_the_deadline(home: Path) -> None:
    def behaviour(server: Server) -> None:
        server.receive()
        with suppress(BrokenPipeError, ConnectionResetError):
            while True:
                server.send(*[{"event": "X", "data": {"filler": "x" * 1000}}] * 20)

    with facing(home, behaviour, seconds=0.3) as session, pytest.raises(DeadlineExceeded):
        session.execute("query-status")
    assert len(session.events) <= 256


def test_a_monitor_that_nobody_listens_to_is_gone(home: Path) -> None:
    with pytest.raises(GuestGone), monitor(home / "monitor", deadline_seconds=1):
        pass


def test_a_socket_whose_qemu_is_stuck_is_given_up(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(home / "monitor"))
        listener.listen()
        with pytest.raises(DeadlineExceeded), monitor(home / "monitor", deadline_seconds=0.1):
            pass
