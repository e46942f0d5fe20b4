"""Exchange two files or folders in one step."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from pyro_mcp.host.syscalls import NUMBER

_HERE = -100  # AT_FDCWD: linux/fcntl.h
_EXCHANGE = 2  # RENAME_EXCHANGE: linux/fs.h


def exchange(first: Path, second: Path) -> None:
    """Let each of two paths name what the other one named, at no moment anything else; raises `OSError`.

    Both are on one file system, one that can do it: renameat2(2).
    """
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(NUMBER["renameat2"], _HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(first), None, str(second))
