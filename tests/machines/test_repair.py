"""What processes leave that are killed while they work on a machine, and how the next one settles it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.processes import find_processes
from pyro_mcp.host.files import cache_home
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.phases import Phase
from tests.machines.conftest import lifecycle_with, repair

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0


@pytest.fixture
def lifecycle(home: Path) -> Iterator[Lifecycle]:
    lifecycle = lifecycle_with(GuestEngine(cache_home()))
    yield lifecycle
    for record in lifecycle.store.all():
        with lifecycle.lock_exclusive(record.id) as held:
            lifecycle.delete(held)
    assert find_processes(str(home)) == []


@contextmanager
def stopped_at(step: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the middle of `step`, killed when the block ends."""
    argv = [sys.executable, "-m", "tests.machines.victim", step]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def processes(lifecycle: Lifecycle) -> int:
    return len(find_processes(str(lifecycle.folders.state / "machines")))


def left(lifecycle: Lifecycle) -> list[Path]:
    """Files and folders of machines that are on the host."""
    parents = (lifecycle.folders.state / "machines", lifecycle.folders.state / "locks")
    return [path for parent in parents if parent.exists() for path in parent.iterdir()]


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        ("start", Phase.STARTING),
        ("running", Phase.RUNNING),
        ("power off", Phase.STOPPING),
        ("reset", Phase.STOPPING),
        ("end", Phase.DELETING),
    ],
)
def test_a_machine_that_a_living_process_works_on_is_left_alone(lifecycle: Lifecycle, step: str, phase: Phase) -> None:
    with stopped_at(step):
        assert repair(lifecycle) == []
        (record,) = lifecycle.store.all()
        assert lifecycle.current_record(record.id) == record
        assert (record.phase, processes(lifecycle)) == (phase, 1)


@pytest.mark.parametrize("step", ["power off", "reset"])
def test_a_machine_whose_end_was_begun_by_a_killed_process_runs_on(lifecycle: Lifecycle, step: str) -> None:
    with stopped_at(step):
        (before,) = lifecycle.store.all()
        assert before.phase == Phase.STOPPING
    assert repair(lifecycle) == []
    record = lifecycle.store.get(before.id)
    assert (record.phase, record.identity, processes(lifecycle)) == (Phase.RUNNING, before.identity, 1)


def test_a_machine_whose_process_was_killed_half_way_has_failed_and_nothing_of_it_runs(lifecycle: Lifecycle) -> None:
    with stopped_at("start"):
        (before,) = lifecycle.store.all()
    assert processes(lifecycle) == 1
    assert repair(lifecycle) == []
    record = lifecycle.store.get(before.id)
    assert record.failure == f"the process that was {before.phase} it died"
    assert (record.phase, record.identity, processes(lifecycle)) == (Phase.FAILED, None, 0)
    assert not lifecycle.folders.sockets(record.id).exists()


def test_whoever_looks_at_a_machine_settles_it_too(lifecycle: Lifecycle) -> None:
    with stopped_at("start"):
        (before,) = lifecycle.store.all()
    assert lifecycle.current_record(before.id).phase == Phase.FAILED
    assert processes(lifecycle) == 0


def test_a_running_machine_outlives_its_client(lifecycle: Lifecycle) -> None:
    with stopped_at("running"):
        (before,) = lifecycle.store.all()
    assert repair(lifecycle) == []
    assert lifecycle.current_record(before.id) == before
    assert processes(lifecycle) == 1


@pytest.mark.parametrize("step", ["end", "ended"])
def test_a_deletion_that_was_killed_is_finished(lifecycle: Lifecycle, step: str) -> None:
    with stopped_at(step):
        (before,) = lifecycle.store.all()
    assert before.phase == Phase.DELETING
    assert repair(lifecycle) == [before.id]
    assert (lifecycle.store.all(), processes(lifecycle), left(lifecycle)) == ([], 0, [])


def test_what_was_being_made_by_a_killed_process_is_removed(lifecycle: Lifecycle) -> None:
    with stopped_at("making"):
        (home,) = lifecycle.folders.machines.iterdir()
        assert repair(lifecycle) == []
        assert home.exists()
    assert repair(lifecycle) == []
    assert left(lifecycle) == []


def test_a_machine_that_was_killed_from_outside_is_seen(lifecycle: Lifecycle) -> None:
    with stopped_at("running"):
        (before,) = lifecycle.store.all()
    assert before.identity is not None
    os.killpg(before.identity.pid, 9)
    GuestEngine(cache_home()).kill(before.identity, lifecycle.folders.sockets(before.id))
    assert lifecycle.current_record(before.id).failure == "the virtual machine ended by itself"


def test_a_folder_in_the_place_of_a_lock_keeps_no_other_machine_from_being_repaired(lifecycle: Lifecycle) -> None:
    (lifecycle.folders.lock("ws-other") / "full").mkdir(parents=True)
    lifecycle.folders.lock("ws-empty").mkdir()
    repair(lifecycle)
    assert lifecycle.folders.lock("ws-other").is_dir()
    assert not lifecycle.folders.lock("ws-empty").exists()
