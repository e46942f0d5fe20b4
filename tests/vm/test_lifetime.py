"""The lifetime of a workspace."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes
from pyro_mcp.errors import InvalidRequest, NotFound
from tests.vm.processes import home_of
from tests.waiting import until


def until_ended(home: Path) -> None:
    """Wait for the end of the machine whose files are in `home`."""
    until("no process of the machine is left", lambda: find_processes(str(home)), lambda left: left == [])


def until_failed(pyro: Pyro, id_: str) -> None:
    """Wait until the status says that the machine's time was over: a process that ends has a state for a moment yet."""

    def state() -> tuple[str, str | None]:
        status = pyro.status_workspace(id_)
        return status["state"], status["failure"]

    until("the machine counts as failed", state, lambda now: now == ("failed", "its time was over"))


def test_a_workspace_is_stopped_when_its_time_is_over_though_nobody_calls_and_then_reaped(pyro: Pyro) -> None:
    id_ = pyro.create_workspace("debian:12", ttl_seconds=4)["workspace_id"]
    home = home_of(id_)
    assert find_processes(str(home))
    until_ended(home)
    until_failed(pyro, id_)
    assert id_ in pyro.reap_expired()["deleted"]
    with pytest.raises(NotFound):
        pyro.status_workspace(id_)


def test_a_longer_time_to_live_keeps_a_workspace_running_and_a_shorter_one_ends_it(pyro: Pyro) -> None:
    id_ = pyro.create_workspace("debian:12", ttl_seconds=12)["workspace_id"]
    try:
        assert pyro.update_workspace(id_, ttl_seconds=600)["expires_at"] > time.time() + 500
        # Longer than it was to live: only waiting shows that it goes on.
        assert pyro.exec_workspace(id_, command="sleep 12; echo alive")["stdout"] == "alive\n"
        with pytest.raises(InvalidRequest):
            pyro.update_workspace(id_, ttl_seconds=0)
        pyro.update_workspace(id_, ttl_seconds=1)
        until_failed(pyro, id_)
    finally:
        pyro.delete_workspace(id_)


def test_a_command_or_a_write_updates_the_last_activity_and_a_status_does_not(pyro: Pyro) -> None:
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
