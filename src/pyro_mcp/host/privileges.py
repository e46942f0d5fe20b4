"""Namespaces, an empty root, and giving up rights: what Python 3.11 does not offer of the kernel's calls."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Sequence
from pathlib import Path

_NEW_MOUNTS, _NEW_UTS, _NEW_IPC = 0x00020000, 0x04000000, 0x08000000  # linux/sched.h
_NEW_USER, _NEW_PIDS, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_PROGRAMS = 1, 2, 4, 8  # linux/mount.h
_REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
_DETACH = 2  # umount(2): MNT_DETACH
_PIVOT_ROOT = 155  # asm/unistd_64.h
_DUMPABLE, _DROP_BOUND, _NO_NEW_PRIVILEGES = 4, 24, 38  # linux/prctl.h
_CAPABILITY_VERSION = 0x20080522
_CAPABILITIES = 64
_MOST_FILE_BYTES = 4 * 1024 * 1024
_MOST_MEMORY = 2 * 1024**3
_MOST_THREADS = 4096
_STAGE = "/proc"
"""Where the new root is put together: a folder that is always there, and that nothing of ours is below."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(status: int, what: str) -> None:
    if status != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def new_namespaces() -> None:
    """Move this process into mount, ipc and uts namespaces of its own, and its children into a pid namespace.

    It must have one thread. An ordinary user needs a user namespace too, and is called root there.
    """
    spaces = _NEW_MOUNTS | _NEW_IPC | _NEW_UTS | _NEW_PIDS
    if os.geteuid() == 0:
        _check(_libc.unshare(spaces), "no namespaces can be made")
        return
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_NEW_USER | spaces), "no user namespace can be made")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def new_network_namespace() -> None:
    """Move this process, which is root in its user namespace and has one thread, where no network is."""
    _check(_libc.unshare(_NEW_NET | _NEW_MOUNTS | _NEW_IPC | _NEW_UTS), "no network namespace can be made")


def fork_with_own_pids() -> int:
    """Fork: the child is the first process of a pid namespace below ours, and ends with us. Its number; 0 in it."""
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_NEW_PIDS), "no pid namespace can be made")
        child = os.fork()
        if child:  # a process whose children go elsewhere can have no threads
            _check(_libc.setns(ours, _NEW_PIDS), "cannot return to the own pid namespace")
        return child
    finally:
        os.close(ours)


def number_outside() -> int:
    """The number of this process where /proc was mounted."""
    return int(os.readlink("/proc/self"))


def enter_empty_root(shown: Sequence[str] = ()) -> None:
    """Make the root an empty folder that nobody can write, in which the folders `shown` are as they are, read-only.

    The process must be alone in its mount namespace, and root in its user namespace.
    """
    _mount(None, "/", _PRIVATE | _RECURSIVE)
    flags = _NO_SUID | _NO_DEVICES | _NO_PROGRAMS
    _mount("tmpfs", _STAGE, flags, "tmpfs", "size=64k,mode=755")
    for path in shown:
        place = f"{_STAGE}{path}"
        os.makedirs(place)
        _mount(path, place, _BIND | _RECURSIVE)
        # What is set already cannot be cleared in a user namespace: mount_namespaces(7).
        held = os.statvfs(place).f_flag & (_NO_SUID | _NO_DEVICES | _NO_PROGRAMS | os.ST_NOATIME | os.ST_NODIRATIME)
        _mount(None, place, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES | held)
    for link in ("/lib", "/lib64"):
        if os.path.islink(link) and "/usr/lib" in shown:
            os.symlink(os.readlink(link), f"{_STAGE}{link}")
    os.chdir(_STAGE)
    _check(_libc.syscall(_PIVOT_ROOT, b".", b"."), "cannot change the root")
    _check(_libc.umount2(b".", _DETACH), "cannot leave the old root")
    os.chdir("/")
    _mount(None, "/", _REMOUNT | _BIND | _READ_ONLY | flags)


def _mount(source: str | None, target: str, flags: int, kind: str | None = None, options: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    _check(_libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]), f"cannot mount {source or ''} at {target}")


def give_up_rights(user: int | None) -> None:
    """Keep no capability and gain none again, for good; as `user`, if one is given. Others of that user cannot look in.

    Who is called root in a user namespace that has nobody else is an ordinary user, and stays that.
    """
    for capability in range(_CAPABILITIES):
        _libc.prctl(_DROP_BOUND, capability, 0, 0, 0)  # fails for those that the kernel does not know
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, none), "capabilities cannot be given up")
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "new privileges cannot be forbidden")
    _check(_libc.prctl(_DUMPABLE, 0, 0, 0, 0), "the process cannot be hidden")


def limit(wanted: int) -> None:
    """Let this process open up to `wanted` files, or as many as it may, but write no large one and no core file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_FILE_BYTES, _MOST_FILE_BYTES))


def limit_memory_and_threads() -> None:
    """Bound them, in the namespaces in which this process will stay: the number of threads is counted there."""
    for what, most in ((resource.RLIMIT_DATA, _MOST_MEMORY), (resource.RLIMIT_NPROC, _MOST_THREADS)):
        _, allowed = resource.getrlimit(what)
        bound = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(what, (bound, bound))
