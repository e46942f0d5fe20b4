"""A client that is killed at any moment leaves nothing that the next command does not mend or remove."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes
from tests.leftovers import expire_machines, machine_leftovers

pytestmark = pytest.mark.accelerators("uml", "qemu")

# Moments of `pyro run`: a function, whether the client is killed before or after it, and at which call of it.
MOMENTS = {
    "create: the record is written": ("pyro_mcp.machines.machine_store:MachineStore.add", "after", 1),
    "create: the record says starting": ("pyro_mcp.machines.machine_store:MachineStore.set_phase", "after", 1),
    "create: the processes run, the record does not know": ("pyro_mcp.engine.processes:launch", "after", 1),
    "create: the memory is loaded": ("pyro_mcp.engine.guest_connection:GuestConnection.hello", "after", 1),
    "create: the machine is set up, the record says starting": (
        "pyro_mcp.engine.guest_connection:GuestConnection.setup",
        "after",
        1,
    ),
    "create: the record says running": ("pyro_mcp.machines.machine_store:MachineStore.set_phase", "after", 2),
    "exec: the command is on its way": ("pyro_mcp.engine.guest_connection:GuestConnection._send", "after", 2),
    "exec: the first output has come": ("pyro_mcp.engine.guest_connection:Capture.take", "before", 1),
    "exec: the command has ended": ("pyro_mcp.engine.guest_connection:GuestConnection.run", "after", 1),
    "delete: the record says deleting": ("pyro_mcp.machines.machine_store:MachineStore.set_phase", "after", 3),
    "delete: the processes have ended": ("pyro_mcp.machines.lifecycle:Lifecycle.clear", "after", 1),
    "delete: the files are gone": ("pyro_mcp.machines.machine_store:MachineStore.remove", "before", 1),
    "delete: the record is gone": ("pyro_mcp.machines.machine_store:MachineStore.remove", "after", 1),
}

# The same for create_vm, start_vm, stop_vm, start_vm, delete_vm.
LONG_LIFE = {
    "stop: the record says stopping": ("pyro_mcp.machines.machine_store:MachineStore.set_phase", "after", 3),
    "stop: the machine has powered off": ("pyro_mcp.engine.guest.engine:GuestEngine.power_off", "after", 1),
    "start again: the processes run": ("pyro_mcp.engine.processes:launch", "after", 2),
}


@pytest.mark.parametrize(
    ("surface", "moment"),
    [("cli", moment) for moment in MOMENTS.values()] + [("sdk", moment) for moment in LONG_LIFE.values()],
    ids=[*MOMENTS, *LONG_LIFE],
)
@pytest.mark.usefixtures("template")
def test_a_client_that_is_killed_leaves_nothing_behind(
    pyro: Pyro, home: Path, surface: str, moment: tuple[str, str, int]
) -> None:
    words = [sys.executable, "-m", "tests.vm.killed_machine_client", *map(str, moment), surface]
    victim = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, timeout=60, check=False)
    assert victim.returncode == -9, victim.stderr.decode()
    assert machine_leftovers(home) != []

    assert pyro.run_in_vm("debian:12", command="echo next")["stdout"] == "next\n"
    pyro.reap_expired()
    if surface == "sdk":  # such a machine may be used again by its id until its time is over
        expire_machines(home)
        pyro.reap_expired()

    assert machine_leftovers(home) == []
    assert pyro.run_in_vm("debian:12", command="echo last")["stdout"] == "last\n"


KILLED_EXPORT = """
import sys
from pyro_mcp import Pyro
from tests.vm.kill_point import die_at
die_at(sys.argv[3], after=False)
Pyro().export_workspace_disk(sys.argv[1], output_path=sys.argv[2])
"""


def kill_export(id_: str, output: Path, *, at: str) -> None:
    argv = [sys.executable, "-c", KILLED_EXPORT, id_, str(output), at]
    victim = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, timeout=60, check=False)
    assert victim.returncode == -9, victim.stderr.decode()


def test_a_disk_export_that_is_killed_leaves_nothing_behind(pyro: Pyro, home: Path) -> None:
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    pyro.stop_workspace(id_)
    before = [path for path in machine_leftovers(home) if "/locks/" not in path]
    kill_export(id_, home / "disk", at="pyro_mcp.workspaces.stopped_disk:_move")
    exports = home / "state/pyro-mcp/exports"
    assert list(exports.iterdir()) != []
    pyro.reap_expired()
    assert [path for path in machine_leftovers(home) if "/locks/" not in path and path != str(exports)] == before
    assert not (home / "disk").exists()
    pyro.delete_workspace(id_)


def test_a_workspace_starts_though_its_disk_was_being_exported_by_a_killed_process(pyro: Pyro, home: Path) -> None:
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    pyro.write_workspace_file(id_, "file", text="kept\n")
    pyro.stop_workspace(id_)
    machines = str(home / "state/pyro-mcp/machines")
    kill_export(id_, home / "disk", at="pyro_mcp.workspaces.stopped_disk:ToolOf")
    assert len(find_processes(machines)) == 1
    assert pyro.start_workspace(id_)["state"] == "running"
    assert len(find_processes(machines)) == 1
    assert pyro.read_workspace_file(id_, "file")["content"] == "kept\n"
    pyro.delete_workspace(id_)
