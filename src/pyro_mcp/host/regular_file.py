"""Read a file that should be small and regular, but may be neither."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotSmallAndRegular(Exception):
    """The error for a file that is too large or not regular; the message says which."""


def read_regular(path: Path, *, most: int) -> tuple[bytes, Path]:
    """Return the content of a regular file of at most `most` bytes, and its path with all links followed.

    It does not wait for a FIFO or a device. Raises `NotSmallAndRegular` and `OSError`.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotSmallAndRegular("is not a regular file")
        with open(fd, "rb", closefd=False) as file:
            content = file.read(most + 1)
        target = Path(os.readlink(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)
    if len(content) > most:
        raise NotSmallAndRegular(f"is larger than {most // 1024} KiB")
    return content, target
