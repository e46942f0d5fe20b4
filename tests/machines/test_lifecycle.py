"""A machine's life over an engine that fails where it is told to."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.engine.interface import Command
from pyro_mcp.errors import Busy, Conflict, DeadlineExceeded, GuestFailed, GuestGone, NoSpace, NotFound, PyroError
from pyro_mcp.host.files import locked
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.machine_store import MachineRecord
from pyro_mcp.machines.phases import GUEST, Phase
from tests.machines.conftest import IMAGE, create, repair, start
from tests.waiting import until

BROKEN = GuestFailed("it broke")
DEADLINE = 20.0


def left_on_disk(lifecycle: Lifecycle, id_: str) -> list[str]:
    """Which of a machine's places on the host exist."""
    folders = lifecycle.folders
    places = {"home": folders.home(id_), "sockets": folders.sockets(id_), "lock": folders.lock(id_)}
    return [name for name, path in places.items() if path.exists()]


def test_a_created_machine_runs_nothing_and_owns_only_its_record(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    record = create(lifecycle)
    assert lifecycle.current_record(record.id).phase == Phase.CREATED
    assert (engine.started, left_on_disk(lifecycle, record.id)) == ([], ["home", "lock"])
    assert [path.name for path in lifecycle.folders.home(record.id).iterdir()] == ["record.json"]


def test_a_machine_whose_making_failed_never_was(lifecycle: Lifecycle) -> None:
    def fail() -> str:
        with lifecycle.reserve_id("vm") as id_:
            lifecycle.folders.home(id_).mkdir(parents=True)
            made.append(id_)
            raise NoSpace("full")

    made: list[str] = []
    with pytest.raises(NoSpace):
        fail()
    assert (lifecycle.store.all(), left_on_disk(lifecycle, made[0])) == ([], [])


def test_a_started_machine_is_recorded_with_its_process(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    record = start(lifecycle)
    assert (record.phase, record.execution_mode, record.accelerator) == (Phase.RUNNING, GUEST, "tcg")
    assert engine.running == {lifecycle.folders.sockets(record.id): record.identity}
    assert lifecycle.current_record(record.id) == record


def test_each_machine_has_its_own_host_name_and_machine_id(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    names = [start(lifecycle).id, start(lifecycle).id]
    assert [request.hostname for request in engine.started] == names
    assert [request.files["/etc/hostname"] for request in engine.started] == [
        (0o644, f"{name}\n".encode()) for name in names
    ]
    assert len({request.files["/etc/machine-id"] for request in engine.started}) == 2


def test_a_machine_may_live_no_longer_than_its_record(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    start(lifecycle, ttl_seconds=100)
    start(lifecycle, ttl_seconds=0.5)
    long, short = (request.lifetime_seconds for request in engine.started)
    assert 90 < long <= 100
    assert short == 1


def test_a_start_that_fails_leaves_a_failed_machine_and_nothing_running(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    engine.failures["start"] = BROKEN
    with pytest.raises(GuestFailed, match="it broke"):
        start(lifecycle)
    (record,) = lifecycle.store.all()
    assert (record.phase, record.failure, record.identity) == (Phase.FAILED, "it broke", None)
    assert engine.running == {}
    assert not lifecycle.folders.sockets(record.id).exists()


@pytest.mark.parametrize("step", ["power_off", "kill"])
def test_a_stop_that_fails_leaves_the_machine_running(lifecycle: Lifecycle, engine: FakeEngine, step: str) -> None:
    record = start(lifecycle)
    engine.failures[step] = BROKEN
    with lifecycle.lock_turnstile(record.id), pytest.raises(GuestFailed, match="it broke"):
        lifecycle.stop(record)
    engine.failures.clear()
    assert lifecycle.current_record(record.id) == record
    with lifecycle.lock_shared(record.id) as used, lifecycle.connect(used) as session:
        assert session.run(Command(["true"])).exit_code == 0


def test_a_forced_stop_needs_no_guest_that_answers(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = start(lifecycle).id
    engine.failures |= {"power_off": BROKEN, "flush": DeadlineExceeded("silent")}
    with lifecycle.lock_turnstile(id_) as record:
        assert lifecycle.stop(record, force=True).phase == Phase.STOPPED
    assert engine.running == {}


def test_a_machine_that_a_dead_process_was_stopping_runs_on(lifecycle: Lifecycle) -> None:
    record = start(lifecycle)
    lifecycle.store.set_phase(record.id, Phase.STOPPING)
    assert lifecycle.current_record(record.id) == record


def test_a_reset_that_cannot_end_the_machine_leaves_it_running(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    record = start(lifecycle)
    engine.failures["kill"] = BROKEN
    with lifecycle.lock_turnstile(record.id), pytest.raises(GuestFailed):
        lifecycle.reset(record, IMAGE, ())
    engine.failures.clear()
    assert lifecycle.current_record(record.id) == record


@pytest.mark.parametrize("verb", ["stop", "reset"])
def test_a_stop_and_a_reset_do_not_wait_for_those_who_use_the_machine(lifecycle: Lifecycle, verb: str) -> None:
    id_ = start(lifecycle).id
    using = threading.Event()

    def use_machine() -> None:
        with lifecycle.lock_shared(id_) as used:
            using.set()
            while True:
                with lifecycle.connect(used) as session:
                    session.run(Command(["true"]))

    def be_told() -> None:
        with pytest.raises(Conflict, match="stopped or reset meanwhile"):
            use_machine()

    user = threading.Thread(target=be_told)
    user.start()
    assert using.wait(DEADLINE)
    with lifecycle.lock_turnstile(id_) as record:
        _ = lifecycle.stop(record) if verb == "stop" else lifecycle.reset(record, IMAGE, ())
    user.join(DEADLINE)
    assert not user.is_alive()


def test_a_reset_that_cannot_start_again_leaves_a_failed_machine(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = start(lifecycle).id
    engine.failures["start"] = BROKEN
    with lifecycle.lock_turnstile(id_) as record, pytest.raises(GuestFailed):
        lifecycle.reset(record, IMAGE, ())
    assert lifecycle.current_record(id_).phase == Phase.FAILED
    assert engine.running == {}


def test_a_delete_that_fails_can_be_tried_again_and_is_finished_by_a_repair(
    lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    id_ = start(lifecycle).id
    engine.failures["kill"] = BROKEN
    for _ in range(2):
        with lifecycle.lock_exclusive(id_) as record, pytest.raises(GuestFailed):
            lifecycle.delete(record)
        assert lifecycle.current_record(id_).phase == Phase.DELETING
    engine.failures.clear()
    assert repair(lifecycle) == [id_]
    assert (engine.running, left_on_disk(lifecycle, id_)) == ({}, [])


def test_a_stopped_machine_keeps_its_disk_and_starts_again(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = start(lifecycle).id
    (lifecycle.folders.home(id_) / "disk").touch()
    with lifecycle.lock_turnstile(id_) as record:
        stopped = lifecycle.stop(record)
        assert (stopped.phase, stopped.identity, engine.running) == (Phase.STOPPED, None, {})
        assert lifecycle.stop(stopped) == stopped
        assert lifecycle.start(stopped, IMAGE, GUEST).phase == Phase.RUNNING
    assert (lifecycle.folders.home(id_) / "disk").exists()


def test_a_reset_machine_runs_anew_on_layers_of_its_own(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = start(lifecycle).id
    with lifecycle.lock_turnstile(id_) as record:
        again = lifecycle.reset(record, IMAGE, ("base",))
    assert again.phase == Phase.RUNNING
    assert len(engine.ended) == len(engine.running) == 1
    first, second = engine.started
    assert second.layers[0] == "base"
    assert not set(first.layers) & set(second.layers)
    assert second.generation == first.generation + 1


def test_what_a_phase_does_not_allow_changes_nothing(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    record = create(lifecycle)
    with lifecycle.lock_turnstile(record.id) as held:
        with pytest.raises(Conflict, match="is created"):
            lifecycle.stop(held)
        with pytest.raises(Conflict, match="is created"):
            lifecycle.reset(held, IMAGE, ())
    assert lifecycle.current_record(record.id) == record
    with pytest.raises(Conflict, match="never started"):
        lifecycle.connect(record)
    assert engine.running == {}


def test_a_deleted_machine_leaves_nothing(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = start(lifecycle).id
    with lifecycle.lock_exclusive(id_) as record:
        lifecycle.delete(record)
    assert (lifecycle.store.all(), engine.running, left_on_disk(lifecycle, id_)) == ([], {}, [])
    with pytest.raises(NotFound), lifecycle.lock_exclusive(id_):
        pass
    assert left_on_disk(lifecycle, id_) == []


def test_a_machine_that_ended_by_itself_is_seen_as_failed(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = start(lifecycle).id
    engine.running.clear()
    record = lifecycle.current_record(id_)
    assert (record.phase, record.failure) == (Phase.FAILED, "the virtual machine ended by itself")
    with lifecycle.lock_exclusive(id_) as held:
        lifecycle.delete(held)
    assert lifecycle.store.all() == []


def test_a_machine_that_ended_at_its_time_says_so(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = start(lifecycle, ttl_seconds=0).id
    engine.running.clear()
    assert lifecycle.current_record(id_).failure == "its time was over"


def test_a_held_machine_is_for_one_and_seen_by_all(lifecycle: Lifecycle) -> None:
    record = start(lifecycle)
    with lifecycle.lock_exclusive(record.id):
        assert lifecycle.current_record(record.id) == record
        with pytest.raises(Busy, match=record.id), lifecycle.lock_exclusive(record.id, deadline_seconds=0):
            pass


def test_users_of_a_machine_share_it_and_keep_changes_away(lifecycle: Lifecycle) -> None:
    id_ = start(lifecycle).id
    with lifecycle.lock_shared(id_) as one, lifecycle.lock_shared(id_) as two:
        assert one == two
        with pytest.raises(Busy), lifecycle.lock_exclusive(id_, deadline_seconds=0):
            pass
    with lifecycle.lock_turnstile(id_, deadline_seconds=0) as record:
        lifecycle.stop(record)
    with pytest.raises(Conflict, match="stopped"), lifecycle.lock_shared(id_):
        pass


def test_a_machine_can_be_deleted_under_its_users_who_are_told(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    record = start(lifecycle)

    def use_machine() -> None:
        with lifecycle.lock_shared(record.id) as used:
            # What delete_now does first in another process; the rest of it waits for us.
            lifecycle.store.set_phase(record.id, Phase.DELETING)
            assert record.identity is not None
            engine.kill(record.identity, lifecycle.folders.sockets(record.id))
            with lifecycle.connect(used):
                raise AssertionError("the machine is gone")

    with pytest.raises(Conflict, match="deleted meanwhile") as raised:
        use_machine()
    assert isinstance(raised.value.__cause__, GuestGone)
    lifecycle.force_delete(record.id)
    assert lifecycle.store.all() == []


def test_a_repair_deletes_what_has_expired_and_leaves_the_rest(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    kept = [create(lifecycle).id, start(lifecycle).id]
    expired = {create(lifecycle, ttl_seconds=0).id, start(lifecycle, ttl_seconds=0).id}
    assert set(repair(lifecycle)) == expired
    assert {record.id for record in lifecycle.store.all()} == set(kept)
    assert list(engine.running) == [lifecycle.folders.sockets(kept[1])]
    assert [left_on_disk(lifecycle, id_) for id_ in expired] == [[], []]
    assert repair(lifecycle) == []


def test_a_repair_leaves_alone_what_somebody_works_on(lifecycle: Lifecycle) -> None:
    record = start(lifecycle, ttl_seconds=0)
    with lifecycle.lock_exclusive(record.id):
        assert repair(lifecycle) == []
        assert lifecycle.store.get(record.id) == record
    with lifecycle.lock_shared(record.id):
        assert repair(lifecycle) == []
    assert repair(lifecycle) == [record.id]


def test_a_repair_removes_strays_but_not_what_is_being_made(lifecycle: Lifecycle) -> None:
    folders = lifecycle.folders
    for folder in (folders.home("vm-stray"), folders.sockets("vm-stray")):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    folders.lock("vm-lock-only").touch()
    with lifecycle.reserve_id("vm") as id_:
        folders.home(id_).mkdir()
        assert repair(lifecycle) == []
        assert left_on_disk(lifecycle, id_) == ["home", "lock"]
    assert [left_on_disk(lifecycle, stray) for stray in ("vm-stray", "vm-lock-only")] == [[], []]


def test_an_unknown_machine_leaves_no_lock_behind(lifecycle: Lifecycle) -> None:
    with pytest.raises(NotFound), lifecycle.lock_exclusive("vm-none"):
        pass
    with pytest.raises(NotFound):
        lifecycle.current_record("vm-none")
    assert left_on_disk(lifecycle, "vm-none") == []


def test_frozen_layers_are_recorded_before_they_are_used(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    before = start(lifecycle)
    engine.failures["switch_layer"] = BROKEN
    with lifecycle.lock_exclusive(before.id) as record, pytest.raises(GuestFailed):
        lifecycle.freeze_layers(record)
    after = lifecycle.current_record(before.id)
    assert after == replace(before, layers=after.layers)
    assert after.layers[:-1] == before.layers
    engine.failures.clear()
    with lifecycle.lock_exclusive(before.id) as record:
        assert lifecycle.freeze_layers(record) == after.layers


def test_a_reset_that_fails_loses_nothing(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    id_ = start(lifecycle).id
    engine.failures["start"] = BROKEN
    with lifecycle.lock_turnstile(id_) as record, pytest.raises(PyroError):
        lifecycle.reset(record, IMAGE, ())
    after = lifecycle.store.get(id_)
    assert (after.phase, after.layers, after.generation) == (Phase.FAILED, record.layers, record.generation)
    engine.failures.clear()
    with lifecycle.lock_turnstile(id_) as failed:
        fresh = lifecycle.reset(failed, IMAGE, ())
    assert (fresh.phase, fresh.generation) == (Phase.RUNNING, record.generation + 1)
    assert set(fresh.layers).isdisjoint(record.layers)


def test_a_disk_is_started_only_on_the_image_it_lies_upon(lifecycle: Lifecycle) -> None:
    id_ = start(lifecycle).id
    other = replace(IMAGE, digest="sha256:other", version="2")
    with lifecycle.lock_turnstile(id_) as record:
        stopped = lifecycle.stop(record)
        with pytest.raises(Conflict, match="another build"):
            lifecycle.start(stopped, other, GUEST)
        assert lifecycle.reset(stopped, other, ()).environment_version == "2"


def test_who_waits_to_have_a_machine_alone_is_not_overtaken(lifecycle: Lifecycle) -> None:
    id_ = start(lifecycle).id
    order: list[str] = []
    with lifecycle.lock_shared(id_):
        alone = threading.Thread(target=lambda: _note(lifecycle.lock_exclusive(id_), order, "alone"))
        alone.start()
        until("the first thread waits its turn", lambda: not _is_free(lifecycle.folders.turnstile(id_)))
        assert alone.is_alive()
        later = threading.Thread(target=lambda: _note(lifecycle.lock_shared(id_), order, "later"))
        later.start()
    alone.join(20)
    later.join(20)
    assert order == ["alone", "later"]


def test_a_repair_that_looks_at_a_new_lock_does_not_stop_the_making(
    lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "new")
    made: list[str] = []

    def make() -> None:
        with lifecycle.reserve_id("vm") as id_:
            made.append(id_)

    lock = lifecycle.folders.lock("vm-new")
    with locked(lock, deadline_seconds=0):  # as a repair does, that takes it for a stray
        maker = threading.Thread(target=make)
        maker.start()
        maker.join(0.2)
        assert made == [] and maker.is_alive()
        lock.unlink()
    maker.join(20)
    assert made == ["vm-new"]


def _note(held: AbstractContextManager[MachineRecord], order: list[str], who: str) -> None:
    with held:
        order.append(who)


def _is_free(path: Path) -> bool:
    try:
        with locked(path, deadline_seconds=0):
            return True
    except Busy:
        return False
