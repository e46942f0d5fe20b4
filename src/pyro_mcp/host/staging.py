"""Results for a path of the user's choice: they appear there whole or not at all.

They are made in a private folder beside the path. A note in the state folder names that folder, so what a killed
process leaves is found and removed by a later one, wherever it is.
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
from pyro_mcp.host.files import abandoned_scratch, write_whole
from pyro_mcp.host.process import run

_PREFIX, _OLD = ".pyro-export-", "old"
_REMOVAL_DEADLINE = 600.0
_AT_FDCWD, _NOREPLACE, _EXCHANGE = -100, 1, 2  # renameat2(2)
_UNKNOWN_TO_FILE_SYSTEM = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def staged(target: Path, state: Path) -> Iterator[Path]:
    """A private folder beside `target`, gone at the end. Raises `InvalidRequest` when there can be none.

    `state` is the folder that holds the notes of unfinished results.
    """
    sweep_staged(state)
    name = f"{os.getpid()}-{secrets.token_hex(8)}"
    folder, note = target.parent / f"{_PREFIX}{name}", state / f".scratch-{name}"
    write_whole(note, json.dumps({"folder": os.fsdecode(folder), "target": os.fsdecode(target)}))
    try:
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise InvalidRequest(f"nothing can be put into {target.parent}: {error.strerror}") from error
        yield folder
    finally:
        _remove(folder)
        note.unlink(missing_ok=True)


def place(new: Path, target: Path) -> None:
    """Move `new`, in its staging folder, to `target`; raises `FileExistsError` when something is there."""
    try:
        _rename(new, target, _NOREPLACE)
    except OSError as error:
        if error.errno not in _UNKNOWN_TO_FILE_SYSTEM:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        new.rename(target)


def replace(new: Path, target: Path) -> None:
    """Exchange `new`, in its staging folder, with what is at `target`, so that one of both is there at any moment."""
    try:
        _rename(new, target, _EXCHANGE)
    except OSError as error:
        if error.errno not in _UNKNOWN_TO_FILE_SYSTEM:
            raise
        old = new.with_name(_OLD)
        target.rename(old)  # should we die now, `sweep_staged` puts it back
        try:
            new.rename(target)
        except BaseException:
            old.rename(target)
            raise


def sweep_staged(state: Path) -> None:
    """Remove the staging folders of processes that were killed, by the notes in `state`."""
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


def _rename(source: Path, target: Path, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
