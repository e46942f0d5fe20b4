"""Find out whether KVM works on this host: QEMU is started with it, inside the cage."""

from __future__ import annotations

import os
from pathlib import Path

from pyro_mcp.engine.qemu.qemu_cage import caged_qemu, qemu_limits
from pyro_mcp.errors import PyroError
from pyro_mcp.host.files import temporary_folder
from pyro_mcp.host.process import run
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.user_ids import machine_ids

_DEVICE = Path("/dev/kvm")
_PROBE_MIB = 64


def kvm_circumstances() -> list[str]:
    """Return what may change whether KVM works: the host's boot, the rights to /dev/kvm, QEMU."""
    if not _DEVICE.exists():
        return []
    device, program = os.stat(_DEVICE), os.stat(require_program("qemu-system-x86_64"))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    rights = f"{device.st_mode:o} {device.st_uid} {device.st_gid}"
    return [boot, rights, str(sorted(os.getgroups())), f"{program.st_size} {program.st_mtime_ns}"]


def kvm_fault() -> str:
    """Return why KVM does not work here, as a clause; "" if it does."""
    if not _DEVICE.exists():
        return "this machine has no /dev/kvm"
    qemu = str(require_program("qemu-system-x86_64"))
    argv = [qemu, "-no-user-config", "-nodefaults", "-display", "none", "-machine", "q35", "-m", f"{_PROBE_MIB}M"]
    argv += ["-accel", "kvm", "-cpu", "host", "-monitor", "stdio"]
    limits = qemu_limits(_PROBE_MIB, file_bytes=1024 * 1024, lifetime=20.0)
    try:
        with temporary_folder() as home:
            ids = machine_ids(home)
            words = caged_qemu(argv, [], limits, user=ids.machine if ids else None, kvm=True)
            run(words, deadline_seconds=25, stdin=b"quit\n")
    except PyroError as error:
        lines = [line for line in error.message.splitlines() if "qemu" in line.lower() or "kvm" in line.lower()]
        why = lines[-1].strip() if lines else error.message.splitlines()[-1]
        return f"KVM does not work here ({why})"
    return ""
