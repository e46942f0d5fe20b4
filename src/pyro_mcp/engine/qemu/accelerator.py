"""Choose the accelerator: KVM if it works on this host, else QEMU's emulation (TCG).

An open of /dev/kvm is no proof: under some paravirtual hosts QEMU then aborts with "failed to set MSR". So QEMU is
started with KVM once per host boot, inside the cage, and the result is stored.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from pyro_mcp.engine.interface import Accelerator
from pyro_mcp.engine.qemu.qemu_cage import caged_qemu, qemu_limits
from pyro_mcp.errors import InvalidRequest, PyroError
from pyro_mcp.host.files import temporary_folder, write_atomic
from pyro_mcp.host.process import run
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.user_ids import machine_ids

_DEVICE = Path("/dev/kvm")
_PROBE_MIB = 64
_KEPT = "accelerator.json"


def accelerator(cache: Path) -> Accelerator:
    """Return the accelerator: that of `PYRO_ACCELERATOR` (kvm or tcg), else the result of the stored or a new probe."""
    forced = os.environ.get("PYRO_ACCELERATOR", "")
    if forced:
        if forced not in ("kvm", "tcg"):
            raise InvalidRequest(f"PYRO_ACCELERATOR is {forced!r}", hint="set it to kvm, uml or tcg, or unset it")
        return Accelerator(forced, f"PYRO_ACCELERATOR={forced} is set")
    if not _DEVICE.exists():
        return Accelerator("tcg", "this machine has no /dev/kvm, so QEMU emulates the processor")
    remembered = _remembered(cache)
    if remembered is None:
        remembered = _probe()
        remember(cache, remembered)
    return remembered


def remember(cache: Path, found: Accelerator) -> None:
    """Store `found`; it is valid until the host reboots, or QEMU or the permissions of /dev/kvm change."""
    write_atomic(cache / _KEPT, json.dumps({"circumstances": _circumstances(), **asdict(found)}))


def _remembered(cache: Path) -> Accelerator | None:
    with suppress(OSError, ValueError, KeyError):
        kept = json.loads((cache / _KEPT).read_text())
        if kept["circumstances"] == _circumstances():
            return Accelerator(kept["name"], kept["reason"])
    return None


def _circumstances() -> list[str]:
    device, program = os.stat(_DEVICE), os.stat(require_program("qemu-system-x86_64"))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    rights = f"{device.st_mode:o} {device.st_uid} {device.st_gid}"
    return [boot, rights, str(sorted(os.getgroups())), f"{program.st_size} {program.st_mtime_ns}"]


def _probe() -> Accelerator:
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
        return Accelerator("tcg", f"KVM does not work here ({why}), so QEMU emulates the processor")
    return Accelerator("kvm", "KVM works here")
