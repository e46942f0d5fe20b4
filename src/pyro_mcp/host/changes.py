"""Waiting until something happens in a folder: inotify(7), which Python does not offer."""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CLOSED_AFTER_WRITING, _DELETED = 0x008, 0x200  # sys/inotify.h
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_WITHOUT_EVENTS = 0.05
_libc = ctypes.CDLL(None, use_errno=True)


class Changes:
    """What happens in one folder: a file there is deleted, or closed by a process that could write it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self, seconds: float) -> None:
        """Return when something has happened since the last call, or after `seconds`."""
        if self._fd < 0:  # this user has no inotify instance left
            time.sleep(min(seconds, _WITHOUT_EVENTS))
            return
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if poll.poll(max(0.0, seconds) * 1000):
            with suppress(BlockingIOError):
                os.read(self._fd, 65536)


@contextmanager
def changes(folder: Path) -> Iterator[Changes]:
    """Watch `folder` from now on; where that cannot be, `wait` returns early and often."""
    fd = _libc.inotify_init1(_FLAGS)
    try:
        if fd >= 0:
            _libc.inotify_add_watch(fd, os.fsencode(folder), _CLOSED_AFTER_WRITING | _DELETED)
        yield Changes(fd)
    finally:
        if fd >= 0:
            os.close(fd)
