"""Connections that stand still are ended."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moot.server.api.stuck import Stuck
from tests.moot.server.running import running


@dataclass
class _Transport:
    unsent: int = 0
    aborted: bool = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True


@dataclass
class _Request:
    response_complete: bool = False


@dataclass(eq=False)
class _Http:
    """As uvicorn's HTTP connection is."""

    transport: _Transport = field(default_factory=_Transport)
    cycle: _Request | None = None


@dataclass(eq=False)
class _Socket:
    """As uvicorn's WebSocket connection is."""

    transport: _Transport = field(default_factory=_Transport)


def ended_after(connection: _Http | _Socket, seconds: int) -> bool:
    """Look at a connection once a second for so long; return whether it was ended."""
    now = [0.0]
    stuck = Stuck(lambda: now[0])
    for _ in range(seconds):
        stuck.end([connection])
        now[0] += 1
    return connection.transport.aborted


def test_a_client_that_does_not_read_is_ended() -> None:
    assert not ended_after(_Socket(_Transport(100)), 30)
    assert ended_after(_Socket(_Transport(100)), 33)
    assert ended_after(_Http(_Transport(100), _Request()), 33)
    assert ended_after(_Socket(_Transport(5 << 20)), 1)


def test_a_client_that_reads_slowly_or_waits_is_not_ended() -> None:
    assert not ended_after(_Socket(), 1000)
    assert not ended_after(_Http(cycle=_Request()), 1000)

    slow = _Http(_Transport(1 << 20), _Request())
    now = [0.0]
    stuck = Stuck(lambda: now[0])
    for _ in range(200):
        stuck.end([slow])
        slow.transport.unsent -= 1000
        now[0] += 20
    assert not slow.transport.aborted


def test_a_connection_without_a_request_is_ended() -> None:
    assert not ended_after(_Http(), 90)
    assert ended_after(_Http(), 93)
    assert ended_after(_Http(cycle=_Request(response_complete=True)), 95)

    busy = _Http()
    now = [0.0]
    stuck = Stuck(lambda: now[0])
    for _ in range(20):
        stuck.end([busy])
        busy.cycle = _Request(response_complete=True)
        now[0] += 60
    assert not busy.transport.aborted


def _send(connection: socket.socket, block: bytes, *, times: int) -> None:
    for _ in range(times):
        connection.sendall(block)


def test_a_flood_of_pings_without_reading_ends_the_connection(tmp_path: Path) -> None:
    ping = bytes([0x89, 0x80 | 125]) + bytes(4) + b"x" * 125
    with running(tmp_path) as server:
        space, spec = server.space(), server.agents()["Spec"]
        before = server.resident_megabytes()
        with closing(spec.bare_socket(space)) as flood, pytest.raises(ConnectionError):
            _send(flood, ping * 1000, times=3000)

        assert server.resident_megabytes() < before + 150
        assert spec.get("/api/actors/me")["display_name"] == "Spec"
        assert "moot_stuck_connections_total 1" in spec.get("/metrics")
