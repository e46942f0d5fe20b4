"""Wait for changes in a folder with inotify(7), which Python does not offer."""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_CLOSED_AFTER_WRITING, _MOVED_HERE, _DELETED = 0x008, 0x080, 0x200  # sys/inotify.h
INOTIFY_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
"""The flags of inotify_init1(2); with invalid ones, as without inotify, a watch returns early and often."""
_WITHOUT_EVENTS = 0.05
_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """A watch on one folder: events are a file that is deleted, moved there, or closed by one that could write it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self, seconds: float, *, also: Sequence[int] = ()) -> None:
        """Return when an event has come since the last call, or after `seconds`; it may return early without one.

        It returns too when one of the descriptors `also` is readable or at its end, and reads nothing from it.
        """
        poll = select.poll()
        for fd in also:
            poll.register(fd, select.POLLIN)
        if self._fd < 0:  # this user has no inotify instance left
            poll.poll(max(0.0, min(seconds, _WITHOUT_EVENTS)) * 1000)
            return
        poll.register(self._fd, select.POLLIN)
        if any(fd == self._fd for fd, _ in poll.poll(max(0.0, seconds) * 1000)):
            with suppress(BlockingIOError):
                os.read(self._fd, 65536)


@contextmanager
def watch_folder(folder: Path) -> Iterator[FolderWatch]:
    """Watch `folder` while the block runs. Where inotify is not available, `wait` returns every 50 ms."""
    fd = _libc.inotify_init1(INOTIFY_FLAGS)
    try:
        if fd >= 0:
            _libc.inotify_add_watch(fd, os.fsencode(folder), _CLOSED_AFTER_WRITING | _MOVED_HERE | _DELETED)
        yield FolderWatch(fd)
    finally:
        if fd >= 0:
            os.close(fd)
