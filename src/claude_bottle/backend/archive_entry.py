"""The entries of archives that are unpacked in a bottle."""

from __future__ import annotations

import tarfile


def without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the entry as one of the guest's root, which everyone may read; a program stays one."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry
