"""The cage around an engine's program, built as if the guest had taken the program over.

bubblewrap gives it new mount, pid, ipc, uts and network namespaces with only its own files, all read-only except its
disk. `cage/confine.c` then drops every capability, limits memory, files and threads, switches to the machine's own user
when root started it, and loads the filter of system calls. The program can get memory only within its limited address
space: it cannot start a process, and has no memory file, shared segment or writable tmpfs. `cage/lifetime.c` kills the
machine at the end of its lifetime, even when no pyro process runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.engine.lifetime import GUARD
from pyro_mcp.errors import HostCommandFailed, HostNotReady
from pyro_mcp.host.process import run
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.seccomp import require_seccomp

NOBODY = 65534
"""The user id inside the cage when an ordinary user starts the machine."""
CONFINE = Path(__file__).with_name("pyro-confine")
CONFINE_INSIDE = "/confine"


@dataclass(frozen=True)
class Bind:
    """A host file or folder that appears at `inside`."""

    host: Path
    inside: str
    writable: bool = False


@dataclass(frozen=True)
class CageLimits:
    """Limits of a caged program: address space (bytes), largest file it may write (bytes), threads, and lifetime.

    `lifetime` is in seconds, or the path of a file that holds the moment, which may be moved (`engine.lifetime`).
    """

    address_space_bytes: int
    file_bytes: int
    threads: int
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
    data_folders: Sequence[str] = (),
) -> list[str]:
    """Return the command that runs `argv` in the cage; `argv[0]` and its libraries are visible, read-only.

    `call_filter` is the seccomp filter of the program (`host.seccomp`). `user` is the machine's own (`machine_ids`),
    None unless we are root. `kvm` gives access to /dev/kvm. `preload` is a shared object, by its path inside the cage,
    that the dynamic linker loads first. `data_folders` are host folders below /usr/share that the program reads; they
    may be missing. Raises `HostNotReady` when the kernel has no seccomp filters, `HostToolMissing` without bubblewrap.
    """
    if isinstance(limits.lifetime, Path):
        words = [str(GUARD), "--signal=KILL", str(limits.lifetime)]
    else:
        words = [str(require_program("timeout")), "--signal=KILL", f"{limits.lifetime:.3f}"]
    return [
        *words,
        *cage(
            argv, binds, limits, call_filter=call_filter, user=user, kvm=kvm, preload=preload, data_folders=data_folders
        ),
    ]


def cage(
    argv: Sequence[str],
    binds: Sequence[Bind],
    limits: CageLimits,
    *,
    call_filter: bytes,
    user: int | None,
    kvm: bool = False,
    preload: str = "",
    data_folders: Sequence[str] = (),
    keep: Sequence[int] | None = None,
) -> list[str]:
    """Return the command of `caged` without the part that ends the program when its time is over.

    `keep` lists the open descriptors that the program inherits; None: all.
    """
    require_seccomp()
    words = [str(require_program("bwrap")), "--die-with-parent", "--clearenv"]
    words += namespaces(root=user is not None)
    words += _file_system(Path(argv[0]), binds, data_folders, kvm=kvm)
    if preload:
        words += ["--setenv", "LD_PRELOAD", preload]
    words += ["--chdir", "/", "--", CONFINE_INSIDE, *_bounds(limits)]
    if keep is not None:
        words.append(kept(keep))
    if user is not None:
        words += [f"uid={user}", f"gid={user}"]
        if kvm and (group := os.stat("/dev/kvm").st_gid):
            words += [f"group={group}"]
    return [*words, f"filter={call_filter.hex()}", "--", *argv]


def _bounds(limits: CageLimits) -> list[str]:
    # The limit on threads is set inside: outside, an ordinary user's would also count the user's other processes.
    return [
        f"as={limits.address_space_bytes}", f"fsize={limits.file_bytes}", "nofile=1024",
        "memlock=65536", f"nproc={limits.threads}",
    ]  # fmt: skip


def kept(fds: Sequence[int]) -> str:
    """Return the word that makes `pyro-confine` close every other descriptor."""
    return f"keep={','.join(map(str, sorted(fds)))}"


def namespaces(*, root: bool) -> list[str]:
    """Return the words that make bubblewrap give a program namespaces of its own and take its capabilities."""
    name = ["--hostname", "cage"]  # else it would be the host's
    if not root:
        return ["--unshare-all", *name, "--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL"]
    # Root needs no user namespace to build the cage; it keeps only what `pyro-confine` needs to change the user.
    spaces = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    keep = [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
    return [*spaces, *name, "--cap-drop", "ALL", *keep]


def _file_system(program: Path, binds: Sequence[Bind], data_folders: Sequence[str], *, kvm: bool) -> list[str]:
    # bubblewrap run by root would make the parents of a bind with mode 0700, and the program is not root.
    parents = {str(parent) for path in (program, *(Path(bind.inside) for bind in binds)) for parent in path.parents}
    words = []
    for folder in sorted(parents | {"/dev", "/usr", "/usr/bin", "/usr/share", "/etc"}):
        words += ["--dir", folder]
    for folder in ("/usr/lib", "/usr/lib64", *data_folders, "/etc/ld.so.cache"):
        words += ["--ro-bind-try", folder, folder]
    for folder in ("/lib", "/lib64"):
        if os.path.islink(folder):
            words += ["--symlink", os.readlink(folder), folder]
        else:
            words += ["--ro-bind-try", folder, folder]
    words += ["--ro-bind", str(CONFINE), CONFINE_INSIDE, "--ro-bind", str(program), str(program)]
    for bind in binds:
        words += ["--bind" if bind.writable else "--ro-bind", str(bind.host), bind.inside]
    for device in ("null", "urandom", *(["kvm"] if kvm else [])):
        words += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return [*words, "--remount-ro", "/"]


def require_namespaces() -> None:
    """Build the namespaces of a cage around a program that only prints; raise `HostNotReady` when that fails."""
    bwrap = str(require_program("bwrap"))
    words = [bwrap, "--die-with-parent", *namespaces(root=os.geteuid() == 0)]
    try:
        run([*words, "--ro-bind", "/", "/", "--", bwrap, "--version"], deadline_seconds=20)
    except HostCommandFailed as error:
        lines = [line for line in error.message.splitlines() if line.startswith("bwrap:")]
        raise HostNotReady(f"bubblewrap cannot build a cage ({(lines or [error.message])[-1]})") from error
