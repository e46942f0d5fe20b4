"""A hostile program in the place of one process of a gateway.

`python -m tests.network.hostile_process relay|policy|confined|free USER PID CALL` confines itself as that process does,
or as any process that computes only ("free": not at all). Then it tries to get more than it was given, and prints a
JSON object: each attempt, and "ok" or the name of the error. With a CALL it makes that system call only.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from pyro_mcp.host import privileges
from pyro_mcp.host.confinement import confine
from pyro_mcp.host.seccomp import load_filter
from pyro_mcp.host.syscalls import NUMBER
from pyro_mcp.network.gateway.program import resolver_folders
from pyro_mcp.network.gateway.system_calls import policy_filter, relay_filter

DEADLY = ("ptrace", "process_vm_readv", "keyctl", "io_uring_enter", "bpf", "userfaultfd", "setns", "fork", "mount")
PIECE = 64 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def called(name: str, *arguments: int) -> str:
    words = [ctypes.c_long(argument) for argument in arguments]
    answer = _libc.syscall(NUMBER[name], *words)
    return "ok" if answer >= 0 else errno.errorcode[ctypes.get_errno()]


def tried(step: Callable[[], object]) -> str:
    try:
        step()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def memory() -> int:
    """MiB that can be had."""
    held: list[mmap.mmap] = []
    with suppress(OSError):
        while len(held) < 96:
            held.append(mmap.mmap(-1, PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    return len(held) * PIECE >> 20


def threads() -> int:
    """How many more can run at once, of 5,000."""
    done, count = threading.Event(), 0
    threading.stack_size(64 * 1024)
    with suppress(RuntimeError):
        while count < 5000:
            threading.Thread(target=done.wait, daemon=True).start()
            count += 1
    done.set()
    return count


def sockets() -> list[int]:
    """The families of which there are sockets."""
    found = set()
    for family in range(46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            with suppress(OSError):
                socket.socket(family, kind).close()
                found.add(family)
    return sorted(found)


def attack(neighbour: int) -> dict[str, object]:
    found: dict[str, object] = {
        "read": tried(lambda: os.close(os.open("/etc/hostname", os.O_RDONLY))),
        "read home": tried(lambda: os.listdir(os.path.dirname(__file__))),
        "read proc": tried(lambda: os.close(os.open(f"/proc/{neighbour}/status", os.O_RDONLY))),
        "make": tried(lambda: os.close(os.open("/etc", os.O_TMPFILE | os.O_WRONLY))),
        "make or open": tried(lambda: os.close(os.open("/etc/hostname", os.O_CREAT | os.O_RDONLY))),
        "signal": tried(lambda: os.kill(neighbour, 0)),
        "signal thread": called("tgkill", neighbour, neighbour, 0),
        "memfd": tried(lambda: os.close(os.memfd_create("x"))),
        "shared segment": called("shmget", 0, 0, 0),
        "pipe": tried(os.pipe),
        "user": tried(lambda: os.setuid(0)),
        "io_uring": called("io_uring_setup", 1, 0),
        "program": tried(lambda: os.execv("/none", ["none"])),  # noqa: S606 - it must not be found
        "pidfd": tried(lambda: os.pidfd_open(neighbour)),
        "sockets": sockets(),
    }
    return {**found, "threads": threads(), "memory": memory()}


def seal(role: str, user: int | None) -> None:
    """Become that process, as `gateway` does it, in a child; the parent ends like the child."""
    if role == "free":
        return
    if role == "confined":
        confine(["/usr"])
        return
    privileges.new_namespaces()
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    if role == "relay":
        child = privileges.fork_with_own_pids()
        if child:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
        privileges.new_network_namespace()
    privileges.enter_empty_root(() if role == "relay" else resolver_folders())
    privileges.limit_memory_and_threads()
    privileges.drop_privileges(user)
    load_filter(relay_filter() if role == "relay" else policy_filter())


def main() -> None:
    role, user, neighbour, deadly = sys.argv[1:5]
    signal.alarm(60)
    seal(role, int(user) if user else None)
    if deadly:
        called(deadly, 0, 0, 0, 0, 0)
        print("survived", flush=True)  # noqa: T201
        os._exit(0)
    print(json.dumps(attack(int(neighbour))), flush=True)  # noqa: T201
    os._exit(0)


if __name__ == "__main__":
    main()
