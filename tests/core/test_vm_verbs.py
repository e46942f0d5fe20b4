"""A workspace that is started or reset ends the one-shot machines of dead processes first: they may lock its disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.engine.interface import Shape
from pyro_mcp.errors import HostNotReady
from pyro_mcp.host.files import locked
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.phases import GUEST
from tests.machines.conftest import IMAGE


@pytest.fixture
def fake(lifecycle: Lifecycle, engine: FakeEngine, warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Pyro:
    """The SDK over `engine`, with the state of `lifecycle`."""
    assert lifecycle.folders.state.exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache.parent))
    return Pyro(engine=engine)


def one_shot(lifecycle: Lifecycle) -> str:
    """A running machine as a killed process leaves it."""
    with lifecycle.reserve_id("in") as id_:
        made = lifecycle.create(id_, "debian:12", "1", Shape(), ttl_seconds=600, allow_host_compat=False, one_shot=True)
        lifecycle.start(made, IMAGE, GUEST)
    return id_


@pytest.mark.parametrize("verb", ["start_workspace", "reset_workspace"])
def test_one_shot_machines_that_nobody_works_on_are_ended_first(
    fake: Pyro, lifecycle: Lifecycle, engine: FakeEngine, verb: str
) -> None:
    id_ = fake.create_workspace("debian:12")["workspace_id"]
    fake.stop_workspace(id_)
    left, used = one_shot(lifecycle), one_shot(lifecycle)
    engine.failures["start"] = HostNotReady("no lock")
    with locked(lifecycle.folders.lock(used), deadline_seconds=0, what=used), pytest.raises(HostNotReady):
        getattr(fake, verb)(id_)
    assert {record.id for record in lifecycle.store.all()} == {id_, used}
    assert [*engine.running] == [lifecycle.folders.sockets(used)]
    assert not lifecycle.folders.home(left).exists()


def test_one_that_cannot_be_ended_does_not_keep_a_workspace_from_starting(
    fake: Pyro, lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    id_ = fake.create_workspace("debian:12")["workspace_id"]
    fake.stop_workspace(id_)
    one_shot(lifecycle)
    engine.failures["kill"] = HostNotReady("it does not end")
    assert fake.start_workspace(id_)["state"] == "running"


def test_one_that_the_database_has_lost_is_ended_too(fake: Pyro, lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = fake.create_workspace("debian:12")["workspace_id"]
    fake.stop_workspace(id_)
    left = one_shot(lifecycle)
    for path in lifecycle.folders.state.glob("pyro.db*"):
        path.unlink()
    again = Pyro(engine=engine)
    again.adopt_workspace(id_)
    again.start_workspace(id_)
    assert not lifecycle.folders.home(left).exists()
