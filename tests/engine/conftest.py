from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp.engine.guest_connection import GuestConnection
from tests.engine.ports import served
from tests.guest.conftest import running, shipped

__all__ = ["shipped"]


@pytest.fixture
def sockets(home: Path, shipped: Path) -> Iterator[Path]:
    """The sockets' folder of a machine that is the real agent on this host, with two ports."""
    with running(shipped, 2) as agent, served(home / "sockets", [port.socket for port in agent.connections]) as folder:
        yield folder


@pytest.fixture
def guest(shipped: Path) -> Iterator[GuestConnection]:
    """A connection to the real agent on this host, without a port in between."""
    with running(shipped, 1) as agent:
        yield GuestConnection(agent.connections[0].socket)
