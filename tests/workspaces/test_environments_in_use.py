"""A build of an environment stays as long as a disk lies upon it, whatever became of the database."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.errors import Conflict
from pyro_mcp.host.files import cache_home, state_home
from tests.environments.test_custom import SMALL, file, source


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def environments(home: Path, warm_cache: Path) -> EnvironmentStore:
    """An empty cache, but for the guest kernel."""
    assert home.exists()
    (cache_home() / "kernels").symlink_to(warm_cache / "kernels")
    return EnvironmentStore(cache_home(), own=state_home() / "environments")


def build(environments: EnvironmentStore, content: bytes) -> str:
    """The digest of a new build of the environment `mine`."""
    return environments.add(source("mine", [*SMALL, file(b"base", content)]), replace=True).digest


def lose_database() -> None:
    for path in state_home().glob("pyro.db*"):
        path.unlink()


def test_what_lost_workspaces_were_made_with_is_neither_pruned_nor_deleted(
    environments: EnvironmentStore, engine: FakeEngine
) -> None:
    first = build(environments, b"1")
    pyro = Pyro(engine=engine)
    stopped, kept = [pyro.create_workspace("mine")["workspace_id"] for _ in range(2)]
    pyro.stop_workspace(stopped)
    second = build(environments, b"2")
    pyro.create_snapshot(kept, "point", with_system=True)
    pyro.reset_workspace(kept)
    unused = build(environments, b"3")
    build(environments, b"4")
    lose_database()

    pyro = Pyro(engine=engine)
    assert pyro.prune_environments()["removed"] != []
    found = [environments.find_build("mine", digest) is not None for digest in (first, second, unused)]
    assert found == [True, True, False]
    with pytest.raises(Conflict, match=stopped):
        pyro.delete_environment("mine")
    pyro.adopt_workspace()
    assert pyro.start_workspace(stopped)["state"] == "running"
    pyro.reset_workspace(kept, snapshot="point")
    assert [request.system.root_digest for request in engine.started[-2:] if request.system] == [first, first]


def test_a_snapshot_with_its_system_alone_keeps_a_build(environments: EnvironmentStore, engine: FakeEngine) -> None:
    first = build(environments, b"1")
    pyro = Pyro(engine=engine)
    id_ = pyro.create_workspace("mine")["workspace_id"]
    pyro.create_snapshot(id_, "point", with_system=True)
    build(environments, b"2")
    pyro.reset_workspace(id_)
    pyro.prune_environments()
    assert environments.find_build("mine", first) is not None
    lose_database()
    Pyro(engine=engine).prune_environments()
    assert environments.find_build("mine", first) is not None


@pytest.mark.parametrize("record", ["{", None])
def test_nothing_is_removed_while_a_workspace_may_need_anything(
    environments: EnvironmentStore, engine: FakeEngine, record: str | None
) -> None:
    first = build(environments, b"1")
    id_ = Pyro(engine=engine).create_workspace("mine")["workspace_id"]
    build(environments, b"2")
    folder = state_home() / "machines" / id_
    (folder / "live").mkdir()
    (folder / "live" / "l0").touch()
    if record is None:
        (folder / "record.json").unlink()
    else:
        (folder / "record.json").write_text(record)
    lose_database()

    pyro = Pyro(engine=engine)
    for remove in (pyro.prune_environments, lambda: pyro.delete_environment("mine")):
        with pytest.raises(Conflict, match=str(folder)) as refused:
            remove()
        assert id_ in refused.value.hint
    assert environments.find_build("mine", first) is not None
    pyro.delete_workspace(id_)
    pyro.prune_environments()
    assert environments.find_build("mine", first) is None


def test_a_system_is_never_put_back_on_another_build(environments: EnvironmentStore, engine: FakeEngine) -> None:
    lost = environments.find_build("mine", build(environments, b"1"))
    pyro = Pyro(engine=engine)
    id_ = pyro.create_workspace("mine")["workspace_id"]
    pyro.create_snapshot(id_, "point", with_system=True)
    pyro.create_snapshot(id_, "files")
    before = pyro.status_workspace(id_)
    current = build(environments, b"2")
    assert lost is not None
    shutil.rmtree(lost.path.parent)
    with pytest.raises(Conflict, match="'point' was made with is gone") as refused:
        pyro.reset_workspace(id_, snapshot="point")
    assert "nothing was changed" in refused.value.hint
    assert (engine.ended, pyro.status_workspace(id_)) == ([], before)
    for other in ("files", "baseline"):
        pyro.reset_workspace(id_, snapshot=other)
        assert engine.started[-1].system is not None
        assert engine.started[-1].system.root_digest == current
