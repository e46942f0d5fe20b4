"""Confine this process: namespaces, an empty root, no capabilities, resource limits.

These are kernel calls that Python 3.11 does not offer. Every function changes the calling process for good and raises
`OSError` when the kernel refuses.
"""

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
"""The mount point where the new root is built: a folder that always exists and that holds nothing we need."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(status: int, what: str) -> None:
    if status != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def new_namespaces() -> None:
    """Move this process into new mount, ipc and uts namespaces, and its future children into a new pid namespace.

    The process must have one thread. For an ordinary user it also makes a user namespace, in which the user is root.
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
    """Move this process into new network, mount, ipc and uts namespaces; the network has no interface but `lo`.

    The process must have one thread and be root in its user namespace.
    """
    _check(_libc.unshare(_NEW_NET | _NEW_MOUNTS | _NEW_IPC | _NEW_UTS), "no network namespace can be made")


def join_network_namespace(namespace: int) -> None:
    """Move this process into the network namespace with this descriptor; raises `OSError`."""
    _check(_libc.setns(namespace, _NEW_NET), "cannot enter the network namespace")


def fork_with_own_pids() -> int:
    """Fork a child that is PID 1 of a new pid namespace; all processes there die with it.

    Returns the child's pid as this process sees it, and 0 in the child.
    """
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_NEW_PIDS), "no pid namespace can be made")
        child = os.fork()
        if child:  # a process whose children get another pid namespace cannot start threads
            _check(_libc.setns(ours, _NEW_PIDS), "cannot return to the own pid namespace")
        return child
    finally:
        os.close(ours)


def pid_in_proc() -> int:
    """Return this process's pid in the pid namespace of the mounted /proc."""
    return int(os.readlink("/proc/self"))


def enter_empty_root(visible: Sequence[str] = ()) -> None:
    """Change the root to an empty read-only file system that shows only the folders `visible`, read-only.

    `visible` are absolute paths. The process must be alone in its mount namespace and root in its user namespace.
    """
    _mount(None, "/", _PRIVATE | _RECURSIVE)
    flags = _NO_SUID | _NO_DEVICES | _NO_PROGRAMS
    _mount("tmpfs", _STAGE, flags, "tmpfs", "size=64k,mode=755")
    for path in visible:
        target = f"{_STAGE}{path}"
        os.makedirs(target)
        _mount(path, target, _BIND | _RECURSIVE)
        # Flags that are set already cannot be cleared in a user namespace: mount_namespaces(7).
        held = os.statvfs(target).f_flag & (_NO_SUID | _NO_DEVICES | _NO_PROGRAMS | os.ST_NOATIME | os.ST_NODIRATIME)
        _mount(None, target, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES | held)
    for link in ("/lib", "/lib64"):
        if os.path.islink(link) and "/usr/lib" in visible:
            os.symlink(os.readlink(link), f"{_STAGE}{link}")
    os.chdir(_STAGE)
    _check(_libc.syscall(_PIVOT_ROOT, b".", b"."), "cannot change the root")
    _check(_libc.umount2(b".", _DETACH), "cannot leave the old root")
    os.chdir("/")
    _mount(None, "/", _REMOUNT | _BIND | _READ_ONLY | flags)


def _mount(source: str | None, target: str, flags: int, kind: str | None = None, options: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    _check(_libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]), f"cannot mount {source or ''} at {target}")


def drop_privileges(user: int | None) -> None:
    """Give up every capability and all ways to regain one, and become `user` (also as its group) unless it is None.

    The process becomes undumpable, so other processes of that user cannot read its memory. Root of a user namespace
    with a single user passes None: it is an ordinary user outside.
    """
    for capability in range(_CAPABILITIES):
        _libc.prctl(_DROP_BOUND, capability, 0, 0, 0)  # fails for numbers that this kernel does not know
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, none), "capabilities cannot be given up")
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "new privileges cannot be forbidden")
    _check(_libc.prctl(_DUMPABLE, 0, 0, 0, 0), "the process cannot be hidden")


def limit_files(wanted: int) -> None:
    """Limit open descriptors to `wanted` (or the hard limit if lower), written files to 4 MiB, cores to none."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
    # 1, not 0: so nothing reads a core by a pipe either (`cage/confine.c`).
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    bound = 0 if most == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (bound, bound))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_FILE_BYTES, _MOST_FILE_BYTES))


def limit_memory_and_threads() -> None:
    """Limit data memory to 2 GiB and threads to 4,096.

    Call it in the final user namespace: the kernel counts a user's threads for each.
    """
    for what, most in ((resource.RLIMIT_DATA, _MOST_MEMORY), (resource.RLIMIT_NPROC, _MOST_THREADS)):
        _, allowed = resource.getrlimit(what)
        bound = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(what, (bound, bound))
