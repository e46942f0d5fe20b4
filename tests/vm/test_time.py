"""The time of a workspace."""

from __future__ import annotations

import time

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine import find_processes
from pyro_mcp.errors import NotFound
from pyro_mcp.host.files import state_home

DEADLINE = 30.0


def test_a_workspace_is_stopped_when_its_time_is_over_though_nobody_calls_and_then_reaped(pyro: Pyro) -> None:
    id_ = pyro.create_workspace("debian:12", ttl_seconds=4)["workspace_id"]
    home, deadline = str(state_home() / "machines" / id_), time.monotonic() + DEADLINE
    assert find_processes(home)
    while find_processes(home):
        assert time.monotonic() < deadline
    status = pyro.status_workspace(id_)
    assert (status["state"], status["failure"]) == ("failed", "its time was over")
    assert id_ in pyro.reap_expired()["deleted"]
    with pytest.raises(NotFound):
        pyro.status_workspace(id_)


def test_use_moves_the_last_activity_and_a_look_does_not(pyro: Pyro) -> None:
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    try:
        before = pyro.status_workspace(id_)["last_activity_at"]
        assert pyro.status_workspace(id_)["last_activity_at"] == before
        pyro.exec_workspace(id_, command="true")
        after = pyro.status_workspace(id_)["last_activity_at"]
        pyro.write_workspace_file(id_, "a", text="b")
        assert before < after < pyro.status_workspace(id_)["last_activity_at"]
    finally:
        pyro.delete_workspace(id_)
