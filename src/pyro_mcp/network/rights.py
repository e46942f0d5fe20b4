"""Namespaces, and giving up rights: what Python 3.11 does not offer of the kernel's calls."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000  # linux/sched.h
_PARENT_DEATH_SIGNAL, _DUMPABLE, _DROP_BOUND, _NO_NEW_PRIVILEGES = 1, 4, 24, 38  # linux/prctl.h
_CAPABILITY_VERSION = 0x20080522
_CAPABILITIES = 64
NOBODY = 65534
_MOST_FILE_BYTES = 4 * 1024 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


def _check(status: int, what: str) -> None:
    if status != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def new_network_namespace() -> None:
    """Move this process, which must have one thread, into a network namespace of its own.

    Root does just that; anyone else needs a user namespace too, where they are called root.
    """
    if os.geteuid() == 0:
        _check(_libc.unshare(_NEW_NET), "no network namespace can be made")
        return
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_NEW_USER | _NEW_NET), "no user namespace can be made")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def give_up_rights(*, nobody: bool) -> None:
    """Keep no capability and gain none again, for good; as `nobody` if asked. Others of that user cannot look in.

    Who is called root in a user namespace that has nobody else is an ordinary user, and stays that.
    """
    for capability in range(_CAPABILITIES):
        _libc.prctl(_DROP_BOUND, capability, 0, 0, 0)  # fails for those that the kernel does not know
    if nobody and _exists(NOBODY):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, none), "capabilities cannot be given up")
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "new privileges cannot be forbidden")
    _check(_libc.prctl(_DUMPABLE, 0, 0, 0, 0), "the process cannot be hidden")


def _exists(user: int) -> bool:
    """Whether this user namespace has that user: user_namespaces(7)."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    ranges = [(int(first), int(size)) for first, _, size in map(str.split, lines)]
    return any(first <= user < first + size for first, size in ranges)


def die_with(parent: int) -> None:
    """Be killed when the process `parent`, which made this one, ends. To be called after the last change of user."""
    _check(_libc.prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0), "cannot be tied to the parent")
    if os.getppid() != parent:
        os._exit(1)


def limit(wanted: int) -> None:
    """Let this process open up to `wanted` files, or as many as it may, but write no large one and no core file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_FILE_BYTES, _MOST_FILE_BYTES))
