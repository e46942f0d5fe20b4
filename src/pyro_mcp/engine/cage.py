"""The cage around QEMU, built as if QEMU had been taken over.

bubblewrap gives it mount, pid, ipc, uts and network namespaces of its own that hold nothing but its files, read-only
but for its disk. `cage/confine.c` then takes every capability from it, bounds its memory, files and threads, makes it a
user of its own when root started it, and loads the filter of system calls. There is no way to memory but the address
space, which is bounded: no second process, no file in memory, no shared segment, no writable tmpfs. `cage/lifetime.c`
ends the machine when its time is over, also when nobody calls us.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.engine.lifetime import GUARD
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.seccomp import require_seccomp

NOBODY = 65534
"""How an ordinary user's machines see themselves."""
_CONFINE = Path(__file__).with_name("pyro-confine")
_INSIDE = "/confine"
_MIB = 1024 * 1024
# QEMU's own code, its translation cache, thread stacks and allocator arenas, over the guest's memory.
_QEMU_ADDRESS_SPACE = 3072 * _MIB
# Virtual processors apart, QEMU has at most 64 threads for its disks and a few of its own: block/thread-pool.c.
_THREADS = 192


@dataclass(frozen=True)
class Bind:
    """A host file or folder that appears at `inside`."""

    host: Path
    inside: str
    writable: bool = False


@dataclass(frozen=True)
class CageLimits:
    """Guest memory (MiB), largest file QEMU may write (bytes), and how long it may live: in seconds, or until the
    moment in a file, which may move (`engine.lifetime`)."""

    mem_mib: int
    file_bytes: int
    lifetime: float | Path


def caged(
    argv: Sequence[str],
    binds: Sequence[Bind],
    limits: CageLimits,
    *,
    call_filter: bytes,
    user: int | None,
    kvm: bool,
    preload: str = "",
) -> list[str]:
    """`argv` inside the cage; `argv[0]` and its libraries are visible read-only.

    `call_filter` is the seccomp program that says which system calls it may make (`host.seccomp`).
    `user` is the machine's own (`machine_ids`), None unless we are root. `preload` is a shared object, by its path
    inside the cage, for the dynamic linker to load first. Raises `HostNotReady` where there are no seccomp filters.
    """
    require_seccomp()
    if isinstance(limits.lifetime, Path):
        words = [str(GUARD), "--signal=KILL", str(limits.lifetime)]
    else:
        words = [str(require_program("timeout")), "--signal=KILL", f"{limits.lifetime:.3f}"]
    words += [str(require_program("bwrap")), "--die-with-parent", "--clearenv"]
    words += _namespaces(root=user is not None)
    words += _file_system(Path(argv[0]), binds, kvm=kvm)
    if preload:
        words += ["--setenv", "LD_PRELOAD", preload]
    words += ["--chdir", "/", "--", _INSIDE, *_bounds(limits)]
    if user is not None:
        words += [f"uid={user}", f"gid={user}"]
        if kvm and (group := os.stat("/dev/kvm").st_gid):
            words += [f"group={group}"]
    return [*words, f"filter={call_filter.hex()}", "--", *argv]


def _bounds(limits: CageLimits) -> list[str]:
    # The number of threads is set inside: an ordinary user's bound would count what else that user runs.
    return [
        f"as={limits.mem_mib * _MIB + _QEMU_ADDRESS_SPACE}", f"fsize={limits.file_bytes}", "nofile=1024",
        "memlock=65536", f"nproc={_THREADS}",
    ]  # fmt: skip


def _namespaces(*, root: bool) -> list[str]:
    if not root:
        return ["--unshare-all", "--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL"]
    # Root needs no user namespace to build the cage; it keeps just what `pyro-confine` takes to leave for good.
    spaces = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    keep = [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
    return [*spaces, "--cap-drop", "ALL", *keep]


def _file_system(program: Path, binds: Sequence[Bind], *, kvm: bool) -> list[str]:
    # Made by hand: bubblewrap gives the parents of a bind 0700 when it runs as root, and we leave root.
    parents = {str(parent) for path in (program, *(Path(bind.inside) for bind in binds)) for parent in path.parents}
    words = []
    for folder in sorted(parents | {"/dev", "/usr", "/usr/bin", "/usr/share", "/etc"}):
        words += ["--dir", folder]
    for folder in ("/usr/lib", "/usr/lib64", "/usr/share/qemu", "/usr/share/seabios", "/etc/ld.so.cache"):
        words += ["--ro-bind-try", folder, folder]
    for folder in ("/lib", "/lib64"):
        if os.path.islink(folder):
            words += ["--symlink", os.readlink(folder), folder]
        else:
            words += ["--ro-bind-try", folder, folder]
    words += ["--ro-bind", str(_CONFINE), _INSIDE, "--ro-bind", str(program), str(program)]
    for bind in binds:
        words += ["--bind" if bind.writable else "--ro-bind", str(bind.host), bind.inside]
    for device in ("null", "urandom", *(["kvm"] if kvm else [])):
        words += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return [*words, "--remount-ro", "/"]
