"""The main functions of a machine, in a few tests: `make test-kvm` runs just these, under KVM.

`PYRO_TEST_ACCELERATOR` says which accelerator they must find; without it, either will do.
"""

from __future__ import annotations

import os

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.interface import Shape, System

pytestmark = pytest.mark.accelerators("uml", "qemu")


def test_the_accelerator_is_the_one_that_works_here(pyro: Pyro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRO_ACCELERATOR")
    report = pyro.doctor()

    assert report["accelerator"] in os.environ.get("PYRO_TEST_ACCELERATOR", "kvm uml tcg").split()
    assert report["accelerator_reason"] != ""


def test_a_prepared_environment_is_warm(template: GuestEngine, system: System) -> None:
    assert template.template_state(system, Shape()) == "warm"
    assert template.prepare(system, Shape()).reused


def test_prepare_runs_a_machine_of_the_template_it_made(pyro: Pyro, template: GuestEngine) -> None:
    report = pyro.prepare("debian:12")

    assert (report["outcome"], report["execution_mode"]) == ("reused", "guest_virtio")
    assert report["accelerator"] == template.accelerator().name
    assert all(report[step] > 0 for step in ("create_ms", "exec_ms", "reset_ms", "delete_ms"))
    assert report["accelerator"] == "uml" or report["cold_boot_ms"] > 0


@pytest.mark.parametrize(
    ("command", "exit_code"), [("true", 0), ("exit 3", 3), ("/etc/passwd", 126), ("nothing-like-it", 127)]
)
def test_the_exit_code_of_a_command_comes_back(pyro: Pyro, command: str, exit_code: int) -> None:
    assert pyro.run_in_vm("debian:12", command=command)["exit_code"] == exit_code


def test_a_machine_that_is_stopped_and_started_keeps_its_disk(pyro: Pyro) -> None:
    vm_id = pyro.create_vm("debian:12")["vm_id"]
    pyro.start_vm(vm_id)
    assert pyro.stop_vm(vm_id)["state"] == "stopped"
    pyro.start_vm(vm_id)

    assert pyro.exec_vm(vm_id, command="cat /etc/hostname")["stdout"] == f"{vm_id}\n"


def test_two_machines_have_no_random_numbers_in_common(pyro: Pyro) -> None:
    drawn = [pyro.run_in_vm("debian:12", command="head -c 16 /dev/urandom | sha256sum")["stdout"] for _ in range(2)]

    assert drawn[0] != drawn[1]
