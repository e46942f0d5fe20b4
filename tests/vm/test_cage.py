"""QEMU runs in a cage, seen from the host's side."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyro_mcp.host.user_ids import machine_ids
from tests.vm.processes import processes_in_group
from tests.vm.running_vm import Vm
from tests.waiting import until

NAMESPACES = ("mnt", "pid", "net", "ipc", "uts")

# Only root may look into the processes of another user.
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="looks into the cage from outside: run the tests as root")


@pytest.fixture
def process(vm: Vm) -> Path:
    """QEMU's folder in /proc."""
    return Path("/proc", str(vm.qemu))


def test_qemu_has_no_privilege_and_cannot_gain_any(vm: Vm, process: Path) -> None:
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    ids = machine_ids(vm.sockets.with_name("machine"))

    assert ids is not None
    assert status["Uid"].split() == status["Gid"].split() == [str(ids.machine)] * 4
    assert status["Groups"].strip() == ""
    assert {status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["Seccomp_filters"]) >= 2  # ours, and QEMU's own on top


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_qemu_shares_no_namespace_with_us(process: Path, namespace: str) -> None:
    assert (process / "ns" / namespace).readlink() != Path("/proc/self/ns", namespace).readlink()


def test_qemu_sees_only_its_own_files(process: Path) -> None:
    mounts = {line.split()[4] for line in (process / "mountinfo").read_text().splitlines()}
    its_own = {"/boot/vmlinuz", "/boot/initramfs", "/disks/root", "/disks/blank", "/disks/baseline"}
    its_own |= {"/live", "/frozen", "/ram", "/readonly-ram.so", "/usr/bin/qemu-system-x86_64", "/confine"}
    libraries = {"/etc/ld.so.cache", "/usr/lib", "/usr/lib64", "/lib", "/lib64"}
    libraries |= {"/usr/share/qemu", "/usr/share/seabios"}
    devices = {mount for mount in mounts if mount == "/dev" or mount.startswith("/dev/")}

    assert mounts - devices - libraries - {"/"} == its_own
    assert not {path.name for path in (process / "root/dev").iterdir()} & {"mem", "vda", "sda", "vhost-net"}
    assert [path for path in ("etc/passwd", "root", "home", "proc/1") if (process / "root" / path).exists()] == []


def test_qemu_can_write_only_its_own_disk(process: Path) -> None:
    lines = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    writable = {words[4] for words in lines if "rw" in words[5].split(",")}

    assert writable == {"/live", "/dev/null", "/dev/urandom"}
    assert (process / "root/live").stat().st_mode & 0o022 == 0


def test_qemu_has_no_network_but_its_own_loopback(process: Path) -> None:
    lines = (process / "net/dev").read_text().splitlines()[2:]

    assert [line.split(":")[0].strip() for line in lines] == ["lo"]


def test_qemu_gets_no_variable_of_our_environment(process: Path) -> None:
    names = {entry.split(b"=")[0] for entry in (process / "environ").read_bytes().split(b"\0") if entry}

    assert names <= {b"LD_PRELOAD", b"PWD"}


def test_qemu_is_bounded_in_memory_and_file_size(process: Path) -> None:
    lines = (process / "limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[0] for line in lines}

    assert int(limits["Max address space"]) <= 5 * 1024**3
    assert int(limits["Max file size"]) <= 64 * 1024**3
    assert limits["Max core file size"] == "1"
    assert int(limits["Max open files"]) <= 1024


def test_every_process_of_a_machine_is_in_one_group_that_ends_with_it(vm: Vm) -> None:
    assert [name for _, name in processes_in_group(vm.identity.pid)] != []

    vm.engine.kill(vm.identity, vm.sockets)

    # Its files are closed a moment before the last process is gone.
    group = vm.identity.pid
    until("no process of the machine is left", lambda: list(processes_in_group(group)), lambda left: left == [])
