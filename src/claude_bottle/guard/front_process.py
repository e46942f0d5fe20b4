"""The process of a front, from the inside: its descriptors, its confinement, and its calls to the guard."""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
from collections.abc import Callable

from pyro_mcp.host.confinement import confine, python_folders

Caller = Callable[[], socket.socket]
"""A function that returns a new connection to the guard; it raises `OSError`."""


def enter_front() -> tuple[socket.socket, Caller, list[str]]:
    """Confine this process, in which all modules are imported, and end it with its guard.

    Returns the socket that listens for the guest, the way to the guard, and the other arguments.
    """
    listener, channel = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    confine(python_folders())
    threading.Thread(target=_end_with, args=(channel,), daemon=True).start()

    def call() -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(channel, [b"c"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    return listener, call, sys.argv[3:]


def _end_with(channel: socket.socket) -> None:
    """End this process when the guard has closed its end; it never sends anything."""
    try:
        channel.recv(1)
    finally:
        os._exit(0)
