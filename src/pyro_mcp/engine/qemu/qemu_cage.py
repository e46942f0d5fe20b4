"""QEMU in its cage: what QEMU needs besides the machine's own files, and how much of the host it may use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyro_mcp.engine.cage import Bind, CageLimits, caged
from pyro_mcp.engine.qemu.system_calls import qemu_filter

_MIB = 1024 * 1024
# QEMU's own code, its translation cache, thread stacks and allocator arenas, over the guest's memory.
_ADDRESS_SPACE = 3072 * _MIB
# Besides virtual processors, QEMU has at most 64 threads for its disks and a few of its own: block/thread-pool.c.
_THREADS = 192
# Firmware and option ROMs.
_DATA_FOLDERS = ("/usr/share/qemu", "/usr/share/seabios")


def qemu_limits(mem_mib: int, file_bytes: int, lifetime: float | Path) -> CageLimits:
    """Return the limits of a QEMU whose guest has `mem_mib` MiB of memory."""
    return CageLimits(mem_mib * _MIB + _ADDRESS_SPACE, file_bytes, _THREADS, lifetime)


def caged_qemu(
    argv: Sequence[str], binds: Sequence[Bind], limits: CageLimits, *, user: int | None, kvm: bool, preload: str = ""
) -> list[str]:
    """Return the command that runs QEMU's command line `argv` in the cage; see `engine.cage.caged`."""
    filter_ = qemu_filter(kvm=kvm)
    return caged(
        argv, binds, limits, call_filter=filter_, user=user, kvm=kvm, preload=preload, data_folders=_DATA_FOLDERS
    )
