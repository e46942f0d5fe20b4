"""Spare machines on real guests: they become machines like any other, and whatever happens nothing is left of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.core.spare_maker import make_spare
from pyro_mcp.engine.cage import CONFINE
from pyro_mcp.engine.disks import MOST_LAYERS
from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.guest_programs import agent_binary
from pyro_mcp.engine.interface import Shape, StartRequest, System
from pyro_mcp.engine.lifetime import GUARD
from pyro_mcp.engine.processes import find_processes, machines_below
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.host.files import private_directory
from pyro_mcp.machines import Order
from pyro_mcp.machines.spares import VARIABLE
from tests.leftovers import machine_leftovers, query_database, until_makers_ended
from tests.vm.processes import home_of
from tests.waiting import until

ROOT = Path(__file__).parents[2]
_LOCKS = {".starting", ".making", ".log", "spares"}


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "600")


@pytest.fixture
def order(warm_cache: Path) -> Order:
    image = EnvironmentStore(warm_cache).installed("debian:12")
    assert image is not None
    return Order("debian:12", image.digest, 1, 1024, "")


@pytest.fixture
def quiet(pyro: Pyro, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pyro]:
    """The SDK, which makes no spare in the background; spares are removed afterwards."""
    monkeypatch.setattr(pyro._spares, "_maker", ())
    yield pyro
    pyro.reap_expired()


@pytest.fixture
def folder(quiet: Pyro, home: Path, order: Order) -> Path:
    """The folder of a spare."""
    make(quiet, order)
    (folder,) = spares_of(home)
    return folder


def make(pyro: Pyro, order: Order) -> None:
    private_directory(pyro._state / "spares")  # as the start has that ordered it
    with ThreadPoolExecutor(1) as starter:
        make_spare(pyro._cache, pyro._state, json.dumps(asdict(order)), starter)


def spares_of(home: Path) -> list[Path]:
    return list((home / "state/pyro-mcp/spares").glob("sp-*/"))


def leader(folder: Path) -> int:
    (identity,) = find_processes(str(folder))
    return identity.pid


def left(home: Path) -> list[str]:
    return [line for line in machine_leftovers(home) if Path(line).name not in _LOCKS]


def shown(pyro: Pyro) -> str:
    return next(check["detail"] for check in pyro.doctor()["checks"] if check["name"] == "spare machines")


def test_a_command_runs_in_the_spare_and_finds_a_machine_of_its_own(quiet: Pyro, home: Path, folder: Path) -> None:
    pid = leader(folder)
    vm = quiet.create_vm("debian:12")["vm_id"]
    quiet.start_vm(vm)
    assert [identity.pid for identity in machines_below(str(home / "state/pyro-mcp/machines")).values()] == [pid]
    script = "hostname; cat /etc/hostname; wc -c < /etc/machine-id; ls /workspace; date +%s"
    *said, now = quiet.exec_vm(vm, command=script)["stdout"].split()
    assert said == [vm, vm, "33"]
    assert abs(int(now) - time.time()) < 60
    assert left(home) == []


def test_a_workspace_from_a_spare_has_its_seed_and_lives_like_any_other(
    quiet: Pyro, home: Path, order: Order, folder: Path
) -> None:
    pid = leader(folder)
    (home / "seed").mkdir()
    (home / "seed/file").write_text("seeded\n")
    id_ = quiet.create_workspace("debian:12", seed_path=home / "seed")["workspace_id"]
    assert leader(home_of(id_)) == pid
    quiet.exec_workspace(id_, command="echo one > one; echo system > /etc/system")
    quiet.create_snapshot(id_, "first")
    quiet.exec_workspace(id_, command="echo two > two")
    quiet.create_snapshot(id_, "second")
    quiet.exec_workspace(id_, command="echo three > three")

    make(quiet, order)
    quiet.reset_workspace(id_, snapshot="second")
    assert (spares_of(home), quiet.exec_workspace(id_, command="cat file *; cat /etc/system")["exit_code"]) == ([], 1)
    assert quiet.exec_workspace(id_, command="cat *")["stdout"] == "seeded\none\ntwo\n"
    quiet.exec_workspace(id_, command="echo four > four")

    make(quiet, order)
    fork = quiet.fork_workspace(id_)["workspace_id"]
    assert (spares_of(home), quiet.exec_workspace(fork, command="cat *")["stdout"]) == ([], "seeded\nfour\none\ntwo\n")

    quiet.stop_workspace(id_)
    make(quiet, order)
    quiet.start_workspace(id_)
    assert (spares_of(home), quiet.exec_workspace(id_, command="cat *")["stdout"]) == ([], "seeded\nfour\none\ntwo\n")
    quiet.create_snapshot(id_, "third")
    quiet.stop_workspace(id_)
    quiet.start_workspace(id_)
    assert quiet.exec_workspace(id_, command="cat *")["stdout"] == "seeded\nfour\none\ntwo\n"
    quiet.reset_workspace(id_)
    assert quiet.exec_workspace(id_, command="cat *")["stdout"] == "seeded\n"
    for one in (id_, fork):
        quiet.delete_workspace(one)
    assert left(home) == []


def test_the_layers_of_a_workspace_from_a_spare_are_merged(quiet: Pyro, home: Path, folder: Path) -> None:
    id_ = quiet.create_workspace("debian:12")["workspace_id"]
    assert not folder.exists()
    numbers = range(MOST_LAYERS + 8)
    for number in numbers:
        quiet.exec_workspace(id_, command=f"echo {number} > {number}")
        quiet.create_snapshot(id_, f"s{number}")
    (layers,) = query_database(home, "SELECT layers FROM machines")
    assert len(json.loads(str(layers[0]))) <= MOST_LAYERS
    assert quiet.exec_workspace(id_, command="cat $(ls | sort -n)")["stdout"].split() == [str(one) for one in numbers]
    quiet.reset_workspace(id_, snapshot="s20")
    assert len(quiet.exec_workspace(id_, command="ls")["stdout"].split()) == 21
    quiet.delete_workspace(id_)


def test_two_machines_from_spares_share_no_entropy_and_no_machine_id(quiet: Pyro, order: Order, folder: Path) -> None:
    command = "head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid /etc/machine-id"
    first = quiet.run_in_vm("debian:12", command=command)["stdout"].splitlines()
    make(quiet, order)
    second = quiet.run_in_vm("debian:12", command=command)["stdout"].splitlines()
    assert len(first) == len(second) == 3
    assert not set(first) & set(second)
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_spare_that_was_killed_or_stopped_costs_only_time(
    quiet: Pyro, home: Path, folder: Path, number: signal.Signals
) -> None:
    os.killpg(leader(folder), number)
    assert quiet.run_in_vm("debian:12", command="echo done")["stdout"] == "done\n"
    assert left(home) == []


def test_a_spare_with_another_agent_is_not_used(
    quiet: Pyro, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = leader(folder)
    newer = Path(shutil.copy2(agent_binary(), home))
    newer.write_bytes(newer.read_bytes() + b"newer")  # after the end of the program: it runs as before
    monkeypatch.setattr("pyro_mcp.engine.initramfs.agent_binary", lambda: newer)
    assert quiet.run_in_vm("debian:12", command="echo done")["stdout"] == "done\n"
    assert leader(folder) == pid


@pytest.mark.parametrize("part", ["root_digest", "vcpu_count", "mem_mib", "kernel", "cage"])
def test_a_spare_of_other_parts_has_another_key(
    system: System, template: GuestEngine, home: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    asked = StartRequest(system, Shape(), home, home / "sockets", "name", 60)
    before = template.spare_key(asked)
    assert template.spare_key(replace(asked, hostname="other", layers=("l0", "l1"))) == before
    if part == "root_digest":
        asked = replace(asked, system=replace(system, root_digest="sha256:other"))
    elif part == "kernel":
        asked = replace(asked, system=replace(system, kernel_digest="sha256:other"))
        monkeypatch.setattr("pyro_mcp.engine.uml.starter.KERNEL_FILE", Path(shutil.copy(GUARD, home)))
    elif part == "cage":
        monkeypatch.setattr("pyro_mcp.engine.guest.engine.CONFINE", Path(shutil.copy(CONFINE, home)))
    else:
        asked = replace(asked, shape=Shape(mem_mib=512) if part == "mem_mib" else Shape(2))
    assert template.spare_key(asked) not in (None, before)


def test_of_eight_clients_at_once_all_get_a_machine(quiet: Pyro, home: Path, folder: Path) -> None:
    with ThreadPoolExecutor(8) as clients:
        done = list(clients.map(lambda n: quiet.run_in_vm("debian:12", command=f"echo {n}; hostname"), range(8)))
    assert [one["stdout"].split() for one in done] == [[str(n), one["vm_id"]] for n, one in enumerate(done)]
    assert (left(home), folder.exists()) == ([], False)


def test_the_background_makes_a_spare_that_the_doctor_shows_and_reap_removes(pyro: Pyro, home: Path) -> None:
    assert "none" in shown(pyro)
    pyro.run_in_vm("debian:12", command="true")
    assert "debian:12, 1 vCPU, 1024 MiB" in until("a spare is there", lambda: shown(pyro), lambda it: "vCPU" in it)
    (pid,) = [leader(one) for one in spares_of(home)]
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
    until_makers_ended(home)  # its record is there a moment before its lock is free
    pyro.reap_expired()
    assert ("none" in shown(pyro), left(home)) == (True, [])


def test_a_spare_ends_by_itself_at_the_end_of_its_life(
    quiet: Pyro, home: Path, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "6")
    make(quiet, order)
    until("no process of it is left", lambda: find_processes(str(home)), lambda found: found == [])
    assert quiet.run_in_vm("debian:12", command="echo done")["stdout"] == "done\n"
    assert left(home) == []


KILLED_MAKER = """
import sys
from tests.vm.kill_point import die_at
die_at(sys.argv[1], after=sys.argv[2] == "after")
sys.argv[1:] = sys.argv[3:]
from pyro_mcp.core.spare_maker import main
main()
"""
ROBBED_MAKER = """
import shutil, sys
from tests.vm.kill_point import do_at
state = sys.argv[4]
do_at(sys.argv[1], lambda: shutil.rmtree(state), after=sys.argv[2] == "after")
sys.argv[1:] = sys.argv[3:]
from pyro_mcp.core.spare_maker import main
main()
"""
MAKER_STEPS = {
    "the folder is there": ("pyro_mcp.machines.spares:private_directory", "after"),
    "the processes run": ("pyro_mcp.engine.processes:launch", "after"),
    "it has booted": ("pyro_mcp.engine.guest_connection:GuestConnection.hello", "after"),
    "the record is not written": ("pyro_mcp.machines.spares:write_atomic", "before"),
}


@pytest.mark.parametrize("moment", MAKER_STEPS.values(), ids=MAKER_STEPS)
def test_a_maker_that_is_killed_leaves_nothing_that_a_repair_does_not_remove(
    quiet: Pyro, home: Path, order: Order, warm_cache: Path, moment: tuple[str, str]
) -> None:
    state = home / "state/pyro-mcp"
    private_directory(state / "spares")
    words = [sys.executable, "-c", KILLED_MAKER, *moment, str(warm_cache), str(state), json.dumps(asdict(order))]
    maker = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert maker.returncode == -9, maker.stderr.decode()
    assert quiet.run_in_vm("debian:12", command="echo next")["stdout"] == "next\n"
    assert left(home) == []


@pytest.mark.parametrize("moment", MAKER_STEPS.values(), ids=MAKER_STEPS)
def test_a_maker_whose_state_folder_is_removed_makes_none_of_it_again(
    home: Path, order: Order, warm_cache: Path, moment: tuple[str, str]
) -> None:
    state = home / "state/pyro-mcp"
    private_directory(state / "spares")
    words = [sys.executable, "-c", ROBBED_MAKER, *moment, str(warm_cache), str(state), json.dumps(asdict(order))]
    maker = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=60, check=False, text=True)
    assert (maker.returncode, "Traceback" in maker.stderr) == (1, False), maker.stderr
    assert "state/pyro-mcp" in maker.stderr
    assert (list((home / "state").iterdir()), find_processes(str(home))) == ([], [])


_CLAIM = "pyro_mcp.engine.guest.spare"
CLAIM_STEPS = {
    "the spare is taken": (f"{_CLAIM}:set_lifetime", "before"),
    "its ids have moved": (f"{_CLAIM}:move_ids", "after"),
    "its sockets have moved": ("pyro_mcp.engine.disks:DiskLayers.take_folders", "before"),
    "its folders have moved": ("pyro_mcp.engine.disks:DiskLayers.take_folders", "after"),
    "it has the disks": (f"{_CLAIM}:attach_disks", "after"),
    "it is set up": ("pyro_mcp.engine.guest_connection:GuestConnection.setup", "after"),
    "the record does not know": (f"{_CLAIM}:become_machine", "after"),
}
KILLED_CLAIMER = """
import sys
from tests.vm.kill_point import die_at
import pyro_mcp.engine.guest.engine
die_at(sys.argv[1], after=sys.argv[2] == "after")
if sys.argv[1].endswith(":become_machine"):
    pyro_mcp.engine.guest.engine.become_machine = pyro_mcp.engine.guest.spare.become_machine
from pyro_mcp import Pyro
if sys.argv[3] == "run":
    Pyro().run_in_vm("debian:12", command="true")
else:
    Pyro().reset_workspace(sys.argv[3], snapshot="kept")
"""


@pytest.mark.parametrize("moment", CLAIM_STEPS.values(), ids=CLAIM_STEPS)
def test_a_client_that_is_killed_while_it_takes_a_spare_leaves_nothing(
    quiet: Pyro, home: Path, folder: Path, moment: tuple[str, str]
) -> None:
    words = [sys.executable, "-c", KILLED_CLAIMER, *moment, "run"]
    victim = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert victim.returncode == -9, victim.stderr.decode()
    assert quiet.run_in_vm("debian:12", command="echo next")["stdout"] == "next\n"
    assert (left(home), folder.exists()) == ([], False)


@pytest.mark.parametrize("moment", CLAIM_STEPS.values(), ids=CLAIM_STEPS)
def test_a_workspace_whose_reset_was_killed_while_it_took_a_spare_has_lost_nothing(
    quiet: Pyro, home: Path, order: Order, moment: tuple[str, str]
) -> None:
    id_ = quiet.create_workspace("debian:12")["workspace_id"]
    quiet.exec_workspace(id_, command="echo kept > kept")
    quiet.create_snapshot(id_, "kept")
    make(quiet, order)
    words = [sys.executable, "-c", KILLED_CLAIMER, *moment, id_]
    victim = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert victim.returncode == -9, victim.stderr.decode()
    quiet.reap_expired()
    if quiet.status_workspace(id_)["state"] != "running":
        quiet.start_workspace(id_)
    assert quiet.exec_workspace(id_, command="cat kept")["stdout"] == "kept\n"
    assert len(find_processes(str(home))) == 1
    quiet.delete_workspace(id_)
    assert left(home) == []
