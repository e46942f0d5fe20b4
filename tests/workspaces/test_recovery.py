"""A database that was lost, emptied, restored or damaged never costs a workspace."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.engine.interface import Shape
from pyro_mcp.errors import Conflict, HostNotReady, NotFound, PyroError
from pyro_mcp.host.files import locked
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.phases import GUEST, Phase
from pyro_mcp.machines.schema import CURRENT
from pyro_mcp.results import WorkspaceSeed
from pyro_mcp.workspaces.recovery import Recovery
from pyro_mcp.workspaces.workspace_store import Snapshot, WorkspaceRecord, WorkspaceStore
from tests.machines.conftest import IMAGE, lifecycle_with, repair, start

SEED: WorkspaceSeed = {
    "mode": "directory", "seed_path": "/src", "destination": "/workspace", "entry_count": 3, "size_bytes": 5,
    "skipped": [], "ignored_count": 0, "ignored_bytes": 0, "likely_secrets": [], "remarks": [],
    "origin_kind": "manual_seed_path", "origin_ref": "/src",
}  # fmt: skip


def make(lifecycle: Lifecycle, name: str = "mine", *, ttl_seconds: float = 600.0) -> str:
    """A running workspace with a snapshot."""
    store = WorkspaceStore(lifecycle.store)
    with lifecycle.reserve_id("ws") as id_:
        made = lifecycle.create(id_, "debian:12", "1", Shape(), ttl_seconds=ttl_seconds, allow_host_compat=False)
        lifecycle.start(made, IMAGE, GUEST)
        store.add(WorkspaceRecord(id_, name, {"key": "value"}, SEED))
    with lifecycle.lock_exclusive(id_) as record:
        layers = lifecycle.freeze_layers(record)
        store.add_snapshot(id_, Snapshot("green", layers, 1000.0))
    return id_


def stop(lifecycle: Lifecycle, id_: str) -> None:
    with lifecycle.lock_exclusive(id_) as record:
        lifecycle.stop(record)


def recovery_of(lifecycle: Lifecycle) -> Recovery:
    return Recovery(lifecycle, WorkspaceStore(lifecycle.store))


def database(lifecycle: Lifecycle) -> Path:
    return lifecycle.folders.state / "pyro.db"


def lose(lifecycle: Lifecycle, engine: FakeEngine, how: str) -> Lifecycle:
    """The same state folder after its database was deleted, or emptied."""
    for path in lifecycle.folders.state.glob("pyro.db*"):
        path.unlink()
    if how == "emptied":
        database(lifecycle).touch()
    return lifecycle_with(engine)


def copied(lifecycle: Lifecycle) -> bytes:
    """The database as it is now."""
    with closing(sqlite3.connect(database(lifecycle))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database(lifecycle).read_bytes()


def restore(lifecycle: Lifecycle, engine: FakeEngine, copy: bytes) -> Lifecycle:
    """The same state folder after an older copy of its database was restored."""
    lose(lifecycle, engine, "deleted")
    database(lifecycle).write_bytes(copy)
    return lifecycle_with(engine)


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_a_workspace_that_the_database_has_lost_is_kept_named_and_adopted_as_it_was(
    lifecycle: Lifecycle, engine: FakeEngine, how: str
) -> None:
    running, stopped = make(lifecycle, "runs"), make(lifecycle, "stands")
    stop(lifecycle, stopped)
    before = {id_: lifecycle.store.get(id_) for id_ in (running, stopped)}
    after = lose(lifecycle, engine, how)
    assert repair(after) == []
    assert len(engine.running) == 1
    found = {one.id: one for one in recovery_of(after).unknown()}
    assert {id_: (one.name, one.problem) for id_, one in found.items()} == {
        running: ("runs", ""),
        stopped: ("stands", ""),
    }
    for id_ in found:
        assert recovery_of(after).adopt(id_) == before[id_]
    store = WorkspaceStore(after.store)
    assert (
        store.get(running).name,
        store.get(running).labels,
        store.get(running).seed["entry_count"],
    ) == ("runs", {"key": "value"}, 3)
    assert [one.name for one in store.snapshots(stopped)] == ["green"]
    assert recovery_of(after).unknown() == []
    stop(after, running)


def test_after_an_older_copy_was_restored_every_workspace_is_what_its_folder_says(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    old = make(lifecycle)
    copy = copied(lifecycle)
    with lifecycle.lock_turnstile(old) as record:
        lifecycle.reset(record, IMAGE, ())
    WorkspaceStore(lifecycle.store).describe(old, "renamed", {})
    WorkspaceStore(lifecycle.store).remove_snapshot(old, "green")
    before, new = lifecycle.store.get(old), make(lifecycle)
    after = restore(lifecycle, engine, copy)
    assert after.store.get(old) != before
    assert repair(after) == []
    assert after.current_record(old) == before
    store = WorkspaceStore(after.store)
    assert (store.get(old).name, store.get(old).reset_count, store.snapshots(old)) == ("renamed", 0, [])
    assert [one.id for one in recovery_of(after).unknown()] == [new]
    assert len(engine.running) == 2


def test_an_update_after_an_older_copy_was_restored_keeps_what_the_folder_says(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    id_ = make(lifecycle, "alpha")
    copy = copied(lifecycle)
    with lifecycle.lock_exclusive(id_) as record:
        later = Snapshot("later", lifecycle.freeze_layers(record), 2000.0)
    store = WorkspaceStore(lifecycle.store)
    store.add_snapshot(id_, later)
    store.describe(id_, "alpha", {"key": "newer"})
    before = lifecycle.store.get(id_)
    after = restore(lifecycle, engine, copy)
    pyro = Pyro(engine=engine)
    changed = pyro.update_workspace(id_, name="beta", labels={"more": "labels"})
    assert (changed["name"], changed["labels"]) == ("beta", {"key": "newer", "more": "labels"})
    assert WorkspaceStore(after.store).snapshot(id_, "later") == later
    assert after.store.get(id_) == before

    restore(lifecycle, engine, copy)
    pyro.update_workspace(id_, ttl_seconds=5000)
    assert WorkspaceStore(after.store).snapshot(id_, "later") == later
    assert after.store.get(id_).layers == before.layers
    assert after.store.get(id_).seconds_left > 4000


@pytest.mark.parametrize("change", ["extend", "describe"])
def test_no_change_of_an_older_record_replaces_a_newer_file(
    lifecycle: Lifecycle, engine: FakeEngine, change: str
) -> None:
    id_ = make(lifecycle)
    copy = copied(lifecycle)
    WorkspaceStore(lifecycle.store).add_snapshot(id_, Snapshot("later", ("l0",), 2000.0))
    after = restore(lifecycle, engine, copy)
    if change == "extend":
        after.store.set_expiry(id_, 5000)
    else:
        WorkspaceStore(after.store).describe(id_, "new", {})
    assert [one.name for one in WorkspaceStore(after.store).snapshots(id_)] == ["green", "later"]
    assert [row["name"] for row in after.store.files.read(id_).tables["snapshots"]] == ["green", "later"]  # type: ignore[union-attr]


def test_readers_show_what_the_folder_says_after_an_older_copy_was_restored(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    id_ = make(lifecycle, "alpha")
    copy = copied(lifecycle)
    WorkspaceStore(lifecycle.store).add_snapshot(id_, Snapshot("later", ("l0",), 2000.0))
    WorkspaceStore(lifecycle.store).describe(id_, "beta", {})
    stop(lifecycle, id_)
    restore(lifecycle, engine, copy)
    (listed,) = Pyro(engine=engine).list_workspaces()["workspaces"]
    assert (listed["name"], listed["state"]) == ("beta", "stopped")
    restore(lifecycle, engine, copy)
    names = [one["snapshot_name"] for one in Pyro(engine=engine).list_snapshots("beta")["snapshots"]]
    assert names == ["baseline", "green", "later"]


def test_a_workspace_is_deleted_also_when_the_database_knows_an_older_process(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    id_ = make(lifecycle)
    copy = copied(lifecycle)
    with lifecycle.lock_turnstile(id_) as record:
        lifecycle.reset(record, IMAGE, ())
    after = restore(lifecycle, engine, copy)
    Pyro(engine=engine).delete_workspace(id_)
    assert (engine.running, after.store.all()) == ({}, [])


def test_a_long_lived_client_goes_on_after_the_database_was_removed(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_, pyro = make(lifecycle), Pyro(engine=engine)
    assert pyro.list_workspaces()["count"] == 1
    for path in lifecycle.folders.state.glob("pyro.db*"):
        path.unlink()
    assert [one["workspace_id"] for one in pyro.list_workspaces()["unknown"]] == [id_]
    assert pyro.adopt_workspace()["count"] == 1
    assert pyro.status_workspace(id_)["state"] == "running"


def test_what_cannot_be_adopted_says_why_and_stays(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    newer, torn, known = make(lifecycle), make(lifecycle), make(lifecycle)
    with pytest.raises(Conflict, match="in the database already"):
        recovery_of(lifecycle).adopt(known)
    after = lose(lifecycle, engine, "deleted")
    homes = after.folders.home(newer), after.folders.home(torn)
    described = json.loads((homes[0] / "record.json").read_text())
    (homes[0] / "record.json").write_text(json.dumps(described | {"schema": CURRENT + 1}))
    (homes[1] / "record.json").write_text("{")
    (homes[1] / "live").mkdir()
    (homes[1] / "live" / "l0").touch()
    with pytest.raises(Conflict, match="newer pyro"):
        recovery_of(after).adopt(newer)
    with pytest.raises(Conflict, match="no record"):
        recovery_of(after).adopt(torn)
    for strange in ("ws-none", "../machines", ".", ""):
        with pytest.raises(NotFound):
            recovery_of(after).adopt(strange)
        with pytest.raises(NotFound):
            recovery_of(after).discard(strange)
    assert repair(after) == []
    assert {one.id: bool(one.problem) for one in recovery_of(after).unknown()} == {
        newer: False,
        torn: True,
        known: False,
    }


@pytest.mark.parametrize("value", [{}, "x", [1]])
def test_a_record_with_foreign_values_is_refused(lifecycle: Lifecycle, engine: FakeEngine, value: object) -> None:
    id_ = make(lifecycle)
    after = lose(lifecycle, engine, "deleted")
    path = after.folders.home(id_) / "record.json"
    described = json.loads(path.read_text())
    described["machines"][0]["vcpu_count"] = value
    path.write_text(json.dumps(described))
    with pytest.raises(Conflict, match="cannot be used"):
        recovery_of(after).adopt(id_)
    assert after.store.all() == []


def test_an_unknown_workspace_is_deleted_on_request_only(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = make(lifecycle)
    after = lose(lifecycle, engine, "deleted")
    recovery_of(after).discard(id_)
    assert (recovery_of(after).unknown(), after.folders.home(id_).exists()) == ([], False)


def test_what_was_never_finished_or_was_being_deleted_is_no_lost_workspace(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    deleted, unfinished = make(lifecycle), start(lifecycle).id
    lifecycle.store.set_phase(deleted, Phase.DELETING)
    named = f"ws-{unfinished.partition('-')[2]}"
    lifecycle.folders.home(unfinished).rename(lifecycle.folders.home(named))
    record = lifecycle.folders.home(named) / "record.json"
    record.write_text(record.read_text().replace(unfinished, named))
    after = lose(lifecycle, engine, "deleted")
    assert recovery_of(after).unknown() == []
    repair(after)
    assert [after.folders.home(id_).exists() for id_ in (deleted, named)] == [False, False]


def test_one_machine_that_cannot_be_repaired_does_not_keep_the_others_from_it(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    broken, over = make(lifecycle, ttl_seconds=0), make(lifecycle, ttl_seconds=0)
    end = engine.kill

    def failing(identity: Identity, sockets: Path) -> None:
        if sockets == lifecycle.folders.sockets(broken):
            raise HostNotReady("it does not end")
        end(identity, sockets)

    engine.kill = failing  # type: ignore[method-assign]
    done = recovery_of(lifecycle).repair(reap=True)
    assert (done.deleted, done.problems) == ([over], {broken: "it does not end"})


def test_a_delete_beside_a_reaper_succeeds(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_, end = make(lifecycle), engine.kill

    def reaped_meanwhile(identity: Identity, sockets: Path) -> None:
        end(identity, sockets)
        engine.kill = end  # type: ignore[method-assign]
        assert repair(lifecycle) == [id_]

    engine.kill = reaped_meanwhile  # type: ignore[method-assign]
    lifecycle.force_delete(id_)
    assert lifecycle.store.all() == []


def test_a_machine_that_is_being_deleted_is_not_in_the_way_of_a_reaper(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    dead = make(lifecycle)
    stale = lifecycle.store.get(dead)
    engine.running.clear()
    lifecycle.store.set_phase(dead, Phase.DELETING)
    assert lifecycle.reconcile(stale).phase == Phase.DELETING


def test_a_workspace_whose_time_is_over_is_stopped_and_deleted_only_by_a_reap(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    id_ = make(lifecycle, ttl_seconds=0)
    done = recovery_of(lifecycle).repair()
    assert (done.deleted, done.stopped, engine.running) == ([], [id_], {})
    assert lifecycle.store.get(id_).phase == Phase.STOPPED
    assert repair(lifecycle) == [id_]


def test_a_clock_that_is_set_ahead_ends_nobodys_time(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = make(lifecycle)
    with lifecycle.store.update_machine(id_) as connection:
        connection.execute("UPDATE machines SET expires_at = expires_at - 25 * 3600")
    assert (repair(lifecycle), lifecycle.store.get(id_).phase, len(engine.running)) == ([], Phase.RUNNING, 1)
    assert 0 < lifecycle.store.get(id_).seconds_left <= 600


def test_after_a_boot_of_the_host_the_wall_clock_counts(lifecycle: Lifecycle) -> None:
    id_ = make(lifecycle)
    with lifecycle.store.update_machine(id_) as connection:
        connection.execute("UPDATE machines SET boot_id = 'another', expires_uptime = 0")
    assert not lifecycle.store.get(id_).expired
    with lifecycle.store.update_machine(id_) as connection:
        connection.execute("UPDATE machines SET expires_at = expires_at - 25 * 3600")
    done = recovery_of(lifecycle).repair()
    assert (done.deleted, done.stopped) == ([], [id_])


def test_the_database_gives_back_what_a_long_history_took(lifecycle: Lifecycle) -> None:
    id_, store = make(lifecycle), WorkspaceStore(lifecycle.store)
    for _ in range(100):
        store.end_command(id_, store.begin_command(id_, "yes"), {"stdout": "y\n" * 100_000, "stderr": ""})
    assert store.command_count(id_) == 100
    assert database(lifecycle).stat().st_size > 15_000_000
    lifecycle.force_delete(id_)
    assert database(lifecycle).stat().st_size < 1_000_000


def test_a_machine_made_before_there_were_record_files_gets_one(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = make(lifecycle)
    (lifecycle.folders.home(id_) / "record.json").unlink()
    before = lifecycle.current_record(id_)
    after = lose(lifecycle, engine, "deleted")
    assert recovery_of(after).adopt(id_) == before


def test_a_workspace_whose_folder_was_removed_is_still_deleted(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = make(lifecycle)
    shutil.rmtree(lifecycle.folders.home(id_))
    lifecycle.force_delete(id_)
    assert (lifecycle.store.all(), engine.running) == ([], {})


def test_an_error_keeps_the_file_in_step_with_the_database(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = make(lifecycle)
    engine.failures["start"] = PyroError("it broke")
    with lifecycle.lock_turnstile(id_) as record, pytest.raises(PyroError, match="it broke"):
        lifecycle.reset(record, IMAGE, ())
    known = lifecycle.store.get(id_)
    assert known.phase == Phase.FAILED
    after = lose(lifecycle, engine, "deleted")
    assert recovery_of(after).adopt(id_) == replace(known)


@pytest.mark.timeout(25)
def test_a_command_that_runs_does_not_keep_its_workspace_from_being_adopted(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    id_ = make(lifecycle)
    after = lose(lifecycle, engine, "deleted")

    with locked(after.folders.lock(id_), deadline_seconds=1, shared=True, what="a command"):
        assert recovery_of(after).adopt(id_).id == id_


def test_an_unknown_workspace_is_found_by_its_name(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = make(lifecycle, "mine")
    lose(lifecycle, engine, "deleted")

    assert [one["workspace_id"] for one in Pyro(engine=engine).adopt_workspace("mine")["workspaces"]] == [id_]
