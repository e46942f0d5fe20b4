"""Wait for changes in a folder with inotify(7), which Python does not offer."""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CLOSED_AFTER_WRITING, _DELETED = 0x008, 0x200  # sys/inotify.h
INOTIFY_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
"""The flags of inotify_init1(2); with invalid ones, as without inotify, a watch returns early and often."""
_WITHOUT_EVENTS = 0.05
_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """A watch on one folder. Two events count: a file there is deleted, or closed by a process that could write it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self, seconds: float) -> None:
        """Return when an event has come since the last call, or after `seconds`; it may return early without one."""
        if self._fd < 0:  # this user has no inotify instance left
            time.sleep(min(seconds, _WITHOUT_EVENTS))
            return
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if poll.poll(max(0.0, seconds) * 1000):
            with suppress(BlockingIOError):
                os.read(self._fd, 65536)


@contextmanager
def watch_folder(folder: Path) -> Iterator[FolderWatch]:
    """Watch `folder` while the block runs. Where inotify is not available, `wait` returns every 50 ms."""
    fd = _libc.inotify_init1(INOTIFY_FLAGS)
    try:
        if fd >= 0:
            _libc.inotify_add_watch(fd, os.fsencode(folder), _CLOSED_AFTER_WRITING | _DELETED)
        yield FolderWatch(fd)
    finally:
        if fd >= 0:
            os.close(fd)
