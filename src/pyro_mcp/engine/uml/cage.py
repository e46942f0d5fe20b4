"""The cages of a machine whose kernel is a process: here they are the boundary.

Guest programs can reach the memory of such a kernel, so the kernel is treated as the guest's own. Its cage holds its
program, its first file system, the sockets of its devices, and a tmpfs as large as its memory. It has no network, no
capability and no other process in sight, and makes only the system calls of `calls`. The daemon that serves the disks
is in the cage of QEMU, and `pyro-devices` in one that holds nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyro_mcp.engine.cage import CONFINE, CONFINE_INSIDE, Bind, CageLimits, kept, namespaces
from pyro_mcp.engine.disks import DISK_BYTES
from pyro_mcp.engine.uml.calls import devices_filter, kernel_filter
from pyro_mcp.engine.uml.programs import DEVICES_FILE, INITRAMFS, KERNEL, KERNEL_FILE, MEMORY, VHOST
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.seccomp import require_seccomp

_MIB = 1024 * 1024
# Over the guest's memory: the program of its processes, and what the kernel tries the folder with.
_MEMORY_SLACK = 2 * _MIB
# The kernel's own program, at the beginning of the file of its memory, takes no room.
_PROGRAM = 64 * _MIB
# Every process of the guest is one of the host, and a descriptor of the kernel. All cages of a machine have one user.
_PROCESSES, _DESCRIPTORS = 4096, 8192
# What all processes of the kernel may have over its memory: page tables, stacks of the host's kernel, sockets.
_GROUP_SLACK = 512 * _MIB
# Of one process, of what is its own: the kernel's heap, 4 MiB, and the stacks of the threads that are its processors.
_PRIVATE_BYTES, _STACK_BYTES = 96 * _MIB, _MIB
# What a guest program has mapped, above all pages that it has read and never written. Each 2 MiB of it cost the host up
# to 4 KiB for their page table.
_ADDRESS_SPACE = 16 * 1024 * _MIB
# Files in the folder of the kernel's memory. It makes 6: its memory, its processes' program, what says that it runs.
_FILES = 32
# Timers and queued signals, of all processes together: each processor has a timer and gets signals from the others.
_SIGNALS = 16384
# linux/personality.h: ADDR_NO_RANDOMIZE. What lies between the kernel's program and its heap is counted as its memory,
# and at random that is up to 1 GiB.
_FIXED_ADDRESSES = 0x0040000
_DEVICES_BYTES, _STORAGE_BYTES = 64 * _MIB, 3072 * _MIB


def kernel_cage(
    argv: Sequence[str],
    initramfs: Path,
    vhost: Path,
    *,
    mem_mib: int,
    user: int | None,
    fds: Sequence[int] = (),
    kernel: Path = KERNEL_FILE,
) -> list[str]:
    """The kernel's command line in its cage; `vhost` is the folder of its devices' sockets, it gets `fds`."""
    memory = mem_mib * _MIB + _MEMORY_SLACK
    binds = [Bind(kernel, KERNEL), Bind(initramfs, INITRAMFS), Bind(vhost, VHOST)]
    words = ["--dir", "/proc", "--ro-bind", "/proc/cpuinfo", "/proc/cpuinfo"]
    words += ["--perms", "1777", "--size", str(memory), "--tmpfs", MEMORY]
    for name in ("HOME", "TMPDIR"):
        words += ["--setenv", name, MEMORY]
    limits = [
        f"as={mem_mib * _MIB + _ADDRESS_SPACE}", f"data={_PRIVATE_BYTES}", f"stack={_STACK_BYTES}",
        f"fsize={memory + _PROGRAM}",
        f"nofile={_DESCRIPTORS}", f"nproc={_PROCESSES}", "memlock=65536", f"sigpending={_SIGNALS}",
        f"personality={_FIXED_ADDRESSES}", f"inodes={_FILES}:{MEMORY}",
    ]  # fmt: skip
    # For `inodes` alone; `pyro-confine` gives them up before it starts the kernel.
    words += ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"]
    return _cage(argv, binds, limits, more=words, fds=fds, calls=kernel_filter(), user=user)


def group_bounds(mem_mib: int) -> tuple[int, int]:
    """Return the bounds of all processes of a kernel together: memory (bytes), and their number."""
    return mem_mib * _MIB * 3 // 2 + _GROUP_SLACK, _PROCESSES


def storage_limits(disks: int, mem_mib: int, deadline: Path) -> CageLimits:
    """Return the limits of the daemon that serves so many disks, each of which maps the guest's memory."""
    return CageLimits(disks * mem_mib * _MIB + _STORAGE_BYTES, 2 * DISK_BYTES, _PROCESSES, deadline)


def devices_cage(argv: Sequence[str], mem_mib: int, fds: Sequence[int], user: int | None) -> list[str]:
    """The command line of `pyro-devices` in its cage, with these descriptors."""
    # Each of its two devices maps the guest's memory.
    limits = [
        f"as={2 * mem_mib * _MIB + _DEVICES_BYTES}", f"fsize={_MIB}", "nofile=128", f"nproc={_PROCESSES}",
        "memlock=65536",
    ]  # fmt: skip
    return _cage(argv, [Bind(DEVICES_FILE, argv[0])], limits, more=[], fds=fds, calls=devices_filter(), user=user)


def _cage(
    argv: Sequence[str],
    binds: Sequence[Bind],
    limits: Sequence[str],
    *,
    more: Sequence[str],
    fds: Sequence[int],
    calls: bytes,
    user: int | None,
) -> list[str]:
    """A cage for a static program: it sees `binds`, and no library."""
    require_seccomp()
    # A session of its own: a signal to its process group reaches nothing outside.
    words = [str(require_program("bwrap")), "--die-with-parent", "--new-session", "--clearenv"]
    words += namespaces(root=user is not None)
    parents = {str(parent) for bind in binds for parent in Path(bind.inside).parents}
    for folder in sorted({*parents, "/dev"}):
        words += ["--dir", folder]
    for bind in [Bind(CONFINE, CONFINE_INSIDE), *binds]:
        words += ["--ro-bind", str(bind.host), bind.inside]
    words += ["--dev-bind", "/dev/null", "/dev/null", *more, "--remount-ro", "/", "--chdir", "/"]
    words += ["--", CONFINE_INSIDE, *limits]
    words.append(kept(fds))
    if user is not None:
        words += [f"uid={user}", f"gid={user}"]
    return [*words, f"filter={calls.hex()}", "--", *argv]
