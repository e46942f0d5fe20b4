"""A network with nothing in it: programs of strangers run where only loopback can be reached."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

# Runs in the new namespace: brings loopback up, hands a listening socket of it to us, and waits for our end.
_INSIDE = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
    fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS
ours = socket.socket(fileno=int(sys.argv[1]))
listening = socket.create_server(("127.0.0.1", 0), backlog=64)
socket.send_fds(ours, [b"x"], [listening.fileno()])
listening.close()
sys.stdin.read()
"""


@dataclass(frozen=True)
class Offline:
    """The namespace: the process that keeps it, and a socket that listens on its 127.0.0.1."""

    pid: int
    listening: socket.socket

    def argv(self, command: Sequence[str]) -> list[str]:
        """`command`, so that it runs in here."""
        own_user = [] if os.getuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.pid), "--net", *own_user, "--", *command]


@contextmanager
def offline() -> Iterator[Offline]:
    """A network namespace with loopback alone; it goes when the block ends."""
    own_user = [] if os.getuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    ours, its = socket.socketpair()
    with ours, its:
        ours.settimeout(20)
        argv = ["unshare", *own_user, "--net", "--", sys.executable, "-c", _INSIDE, str(its.fileno())]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=[its.fileno()]) as keeper:
            its.close()
            assert keeper.stdin is not None
            try:
                _, fds, _, _ = socket.recv_fds(ours, 1, 1)
                assert fds, "there is no network namespace for the test"
                with socket.socket(fileno=fds[0]) as listening:
                    yield Offline(keeper.pid, listening)
            finally:
                keeper.stdin.close()
                keeper.wait(20)
