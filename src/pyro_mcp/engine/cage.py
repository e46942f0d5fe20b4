"""The cage around QEMU, built as if QEMU had been taken over.

bubblewrap gives it mount, pid, ipc, uts and network namespaces of its own that hold nothing but its files; it has
no capabilities and cannot gain any, and when we are root it runs as nobody. `prlimit` bounds memory, file size and
descriptors; `timeout` ends the machine when its time is over, also when nobody calls us.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.host.tools import require_tool

NOBODY = 65534
_MIB = 1024 * 1024
# QEMU's own code, its translation cache, thread stacks and allocator arenas, over the guest's memory.
_QEMU_ADDRESS_SPACE = 3072 * _MIB


@dataclass(frozen=True)
class Bind:
    """A host file or folder that appears at `inside`."""

    host: Path
    inside: str
    writable: bool = False


@dataclass(frozen=True)
class Limits:
    """Guest memory (MiB), largest file QEMU may write (bytes), and how long it may live (seconds)."""

    mem_mib: int
    file_bytes: int
    lifetime_seconds: float


def caged(argv: Sequence[str], binds: Sequence[Bind], limits: Limits, *, kvm: bool, preload: str = "") -> list[str]:
    """`argv` inside the cage; `argv[0]` and its libraries are visible read-only.

    `preload` is a shared object, by its path inside the cage, for the dynamic linker to load first.
    """
    root = os.getuid() == 0
    words = [str(require_tool("timeout")), "--signal=KILL", f"{limits.lifetime_seconds:.3f}"]
    words += [str(require_tool("prlimit"))]
    words += [f"--as={limits.mem_mib * _MIB + _QEMU_ADDRESS_SPACE}", f"--fsize={limits.file_bytes}"]
    words += ["--core=0", "--nofile=1024", "--memlock=65536"]
    words += [str(require_tool("bwrap")), "--die-with-parent", "--clearenv"]
    words += _namespaces(root)
    words += _file_system(Path(argv[0]), binds, kvm=kvm)
    if preload:
        words += ["--setenv", "LD_PRELOAD", preload]
    words += ["--chdir", "/", "--"]
    if root:
        words += _drop_to_nobody(kvm=kvm)
    return [*words, *argv]


def _namespaces(root: bool) -> list[str]:
    if not root:
        return ["--unshare-all", "--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL"]
    # Root needs no user namespace to build the cage; it keeps just what `setpriv` takes to leave for good.
    spaces = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    keep = [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
    return [*spaces, "--cap-drop", "ALL", *keep]


def _drop_to_nobody(*, kvm: bool) -> list[str]:
    kvm_group = os.stat("/dev/kvm").st_gid if kvm else 0
    groups = ["--groups", str(kvm_group)] if kvm_group else ["--clear-groups"]
    return [
        str(require_tool("setpriv")), "--reuid", str(NOBODY), "--regid", str(NOBODY), *groups,
        "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs",
    ]  # fmt: skip


def _file_system(program: Path, binds: Sequence[Bind], *, kvm: bool) -> list[str]:
    words = ["--dev", "/dev"]
    # Made by hand: bubblewrap gives the parents of a bind 0700 when it runs as root, and we leave root.
    parents = {str(parent) for path in (program, *(Path(bind.inside) for bind in binds)) for parent in path.parents}
    for folder in sorted(parents | {"/usr", "/usr/bin", "/usr/share", "/etc"}):
        words += ["--dir", folder]
    for folder in ("/usr/lib", "/usr/lib64", "/usr/share/qemu", "/usr/share/seabios", "/etc/ld.so.cache"):
        words += ["--ro-bind-try", folder, folder]
    for folder in ("/lib", "/lib64"):
        if os.path.islink(folder):
            words += ["--symlink", os.readlink(folder), folder]
        else:
            words += ["--ro-bind-try", folder, folder]
    for tool in (program, require_tool("setpriv")):
        words += ["--ro-bind", str(tool), str(tool)]
    for bind in binds:
        words += ["--bind" if bind.writable else "--ro-bind", str(bind.host), bind.inside]
    if kvm:
        words += ["--dev-bind", "/dev/kvm", "/dev/kvm"]
    return words
