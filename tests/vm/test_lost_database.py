"""Real machines outlive the database that knew them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes
from pyro_mcp.errors import HostNotReady, NotFound
from pyro_mcp.host.files import state_home


def database() -> list[Path]:
    return sorted(state_home().glob("pyro.db*"))


def test_workspaces_survive_a_damaged_database_and_can_be_adopted(pyro: Pyro, home: Path) -> None:
    seed = home / "seed"
    seed.mkdir()
    (seed / "file").write_text("seeded\n")
    ids = [pyro.create_workspace("debian:12", seed_path=seed, name=name)["workspace_id"] for name in ("a", "b")]
    running, stopped = ids
    pyro.write_workspace_file(stopped, "file", text="kept\n")
    pyro.create_snapshot(stopped, "point")
    pyro.write_workspace_file(stopped, "file", text="later\n")
    pyro.stop_workspace(stopped)
    pyro.write_workspace_file(running, "other", text="alive\n")
    before = {id_: pyro.status_workspace(id_) for id_ in ids}

    database()[0].write_bytes(b"no database " * 1000)
    with pytest.raises(HostNotReady, match="damaged") as raised:
        Pyro().list_workspaces()
    assert "adopt_workspace()" in raised.value.hint
    for path in database():
        path.rename(home / path.name)

    pyro = Pyro()
    pyro.delete_workspace(pyro.create_workspace("debian:12")["workspace_id"])
    assert {one["workspace_id"]: one["running"] for one in pyro.list_workspaces()["unknown"]} == {
        running: True,
        stopped: False,
    }
    (check,) = (check for check in pyro.doctor()["checks"] if check["name"] == "lost workspaces")
    assert not check["ok"] and check["needed_for"] and running in check["detail"] and stopped in check["detail"]
    adopted = pyro.adopt_workspace()
    assert (adopted["count"], "unknown" in adopted) == (2, False)
    forgotten = {"command_count": 0, "last_activity_at": 0}
    assert [pyro.status_workspace(id_) | forgotten for id_ in ids] == [before[id_] | forgotten for id_ in ids]

    assert pyro.exec_workspace(running, command="cat other file")["stdout"] == "alive\nseeded\n"
    assert pyro.diff_workspace(running)["summary"]["added"] == 1
    assert pyro.read_workspace_disk(stopped, "/workspace/file")["content"] == "later\n"
    pyro.reset_workspace(stopped, snapshot="point")
    assert pyro.read_workspace_file(stopped, "file")["content"] == "kept\n"
    for id_ in ids:
        pyro.delete_workspace(id_)


def test_after_an_older_database_was_restored_every_verb_works(pyro: Pyro, home: Path) -> None:
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    for path in database():
        shutil.copy(path, home / path.name)
    pyro.write_workspace_file(id_, "file", text="kept\n")
    pyro.stop_workspace(id_)
    pyro.start_workspace(id_)
    new = pyro.create_workspace("debian:12")["workspace_id"]
    for path in database():
        path.unlink()
    for path in home.glob("pyro.db*"):
        path.rename(state_home() / path.name)

    pyro = Pyro()
    another = pyro.create_workspace("debian:12")["workspace_id"]
    assert pyro.read_workspace_file(id_, "file")["content"] == "kept\n"
    assert [one["workspace_id"] for one in pyro.adopt_workspace(new)["workspaces"]] == [new]
    for one in (id_, new, another):
        assert pyro.exec_workspace(one, command="true")["exit_code"] == 0
        pyro.delete_workspace(one)
    with pytest.raises(NotFound):
        pyro.adopt_workspace(id_)


def test_after_an_older_database_was_restored_no_snapshot_is_lost_and_every_workspace_can_be_deleted(
    pyro: Pyro, home: Path
) -> None:
    first, second = (pyro.create_workspace("debian:12", name=name)["workspace_id"] for name in ("alpha", "other"))
    pyro.exec_workspace(first, command="echo one >one")
    for path in database():
        shutil.copy(path, home / path.name)
    for name in ("one", "two"):
        pyro.exec_workspace(first, command=f"echo {name} >{name}")
        pyro.create_snapshot(first, name)
    restore_database(home)

    pyro = Pyro()
    assert pyro.update_workspace(first, name="beta")["name"] == "beta"
    assert [one["snapshot_name"] for one in pyro.list_snapshots("beta")["snapshots"]] == ["baseline", "one", "two"]
    pyro.create_snapshot("beta", "three")
    pyro.stop_workspace("beta")
    pyro.start_workspace("beta")
    assert pyro.read_workspace_file("beta", "two")["content"] == "two\n"

    pyro.reset_workspace(second)
    restore_database(home)
    # An earlier deletion, begun with the number of a process that had ended, left this mark.
    machine = state_home() / "machines" / second
    (machine / "record.json").rename(machine / "deleting")
    for id_ in (first, second):
        started = time.monotonic()
        Pyro().delete_workspace(id_)
        assert time.monotonic() - started < 9
    assert find_processes(str(state_home() / "machines")) == []


def restore_database(home: Path) -> None:
    """Put the copies of the database's files in `home` in place of the files there are now."""
    for path in database():
        path.unlink()
    for path in home.glob("pyro.db*"):
        shutil.copy(path, state_home() / path.name)


def test_machines_whose_folder_was_removed_are_reported_and_ended(pyro: Pyro) -> None:
    ids = [pyro.create_workspace("debian:12")["workspace_id"] for _ in range(2)]
    machines = str(state_home() / "machines")
    shutil.rmtree(state_home())
    assert len(find_processes(machines)) == 2

    pyro = Pyro()
    pyro.list_workspaces()
    (check,) = (check for check in pyro.doctor()["checks"] if check["name"] == "lost workspaces")
    assert all(id_ in check["detail"] for id_ in ids)
    assert pyro.delete_workspace(ids[0])["deleted"]
    assert pyro.reap_expired()["deleted"] == [ids[1]]
    assert find_processes(machines) == []
    assert not os.path.exists(machines) or os.listdir(machines) == []
