"""What the guest's kernel printed when it ended its machine."""

from __future__ import annotations

import os
from pathlib import Path

MACHINE_LOG = "machine.log"
"""The file in a machine's home that has the output of its processes; a kernel that is a process prints there."""
_MARK = "Kernel panic - not syncing: "
_READ_BYTES = 256 * 1024
_LONGEST = 200


def panic_in(home: Path) -> str:
    """Return the reason of a machine's kernel panic, "" when its log shows none.

    The guest controls this text: it is one line of at most 200 printable characters.
    """
    try:
        with open(home / MACHINE_LOG, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _READ_BYTES))
            lines = log.read(_READ_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    found = [line.partition(_MARK)[2] for line in lines if _MARK in line]
    return "".join(one if one.isprintable() else "?" for one in found[-1][:_LONGEST]) if found else ""
