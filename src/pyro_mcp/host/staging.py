"""Write a result to a path of the user's choice so that it appears there complete or not at all.

The result is made in a staging folder: a private folder beside the path. A note in the state folder names the staging
folder, so a later process finds and removes what a killed one has left, wherever it is.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_mcp.errors import InvalidRequest, PyroError
from pyro_mcp.host.files import abandoned_scratch, scratch_path, write_atomic
from pyro_mcp.host.process import run

_PREFIX, _OLD = ".pyro-export-", "old"
_REMOVAL_DEADLINE = 600.0
_AT_FDCWD, _NOREPLACE, _EXCHANGE = -100, 1, 2  # renameat2(2)
_UNKNOWN_TO_FILE_SYSTEM = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def staging_folder(target: Path, state: Path) -> Iterator[Path]:
    """Make a private folder beside `target` for the time of the block; yields it.

    `state` is the folder of the notes; what killed processes have left is removed first. Raises `InvalidRequest` when
    the folder cannot be made.
    """
    remove_abandoned_staging(state)
    note = scratch_path(state)
    folder = target.parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
    write_atomic(note, json.dumps({"folder": os.fsdecode(folder), "target": os.fsdecode(target)}))
    try:
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise InvalidRequest(f"nothing can be put into {target.parent}: {error.strerror}") from error
        yield folder
    finally:
        _remove(folder)
        note.unlink(missing_ok=True)


def move_new(new: Path, target: Path) -> None:
    """Rename `new`, which is in a staging folder, to `target`. Raises `FileExistsError` when `target` exists."""
    try:
        rename_with_flags(new, target, _NOREPLACE)
    except OSError as error:
        if error.errno not in _UNKNOWN_TO_FILE_SYSTEM:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        new.rename(target)


def exchange(new: Path, target: Path) -> None:
    """Exchange `new`, which is in a staging folder, with `target`, so that `target` exists at every moment.

    On a file system that cannot exchange names, two renames do it; after a crash between them,
    `remove_abandoned_staging` restores the old `target`. Raises `OSError`.
    """
    try:
        rename_with_flags(new, target, _EXCHANGE)
    except OSError as error:
        if error.errno not in _UNKNOWN_TO_FILE_SYSTEM:
            raise
        old = new.with_name(_OLD)
        target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            old.rename(target)
            raise


def remove_abandoned_staging(state: Path) -> None:
    """Remove the staging folders of killed processes, which the notes in `state` name."""
    for note in abandoned_scratch(state):
        with suppress(OSError, ValueError, KeyError, TypeError, PyroError):
            found = json.loads(note.read_text())
            folder, target = Path(found["folder"]), Path(found["target"])
            if _is_ours(folder):
                if os.path.lexists(folder / _OLD) and not os.path.lexists(target):
                    (folder / _OLD).rename(target)
                _remove(folder)
            note.unlink()


def _is_ours(folder: Path) -> bool:
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return False
    return folder.name.startswith(_PREFIX) and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _remove(folder: Path) -> None:
    # Not shutil.rmtree: that recurses, and a guest may nest folders deeper than Python's stack.
    run(["rm", "-rf", "--", folder], deadline_seconds=_REMOVAL_DEADLINE)


def rename_with_flags(source: Path, target: Path, flags: int) -> None:
    """Rename as renameat2(2) does; raise `OSError` when the file system does not know the flags."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
