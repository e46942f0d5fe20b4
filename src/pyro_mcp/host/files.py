"""XDG folders, lock files, atomic writes, scratch folders, and a reserve for a full disk."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_mcp.errors import HostNotReady, NoSpace
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.lock_holders import busy_error, lock_holders

_NAME = "pyro-mcp"
_SCRATCH = ".scratch-"


def cache_home() -> Path:
    """Return `$XDG_CACHE_HOME/pyro-mcp`, made if missing: environments, kernels, templates; all can be rebuilt.

    Raises `HostNotReady` when another user could write there.
    """
    return _base("XDG_CACHE_HOME", ".cache")


def state_home(program: str = _NAME) -> Path:
    """Return `$XDG_STATE_HOME/pyro-mcp`, made if missing: the database and the machines' disks.

    A program above pyro passes its own name, and gets its own folder. Raises `HostNotReady` when another user could
    write there.
    """
    return _base("XDG_STATE_HOME", ".local/state", program)


def _base(variable: str, below_home: str, program: str = _NAME) -> Path:
    given, home = os.environ.get(variable, ""), os.environ.get("HOME", "")
    if not os.path.isabs(home):
        home = pwd.getpwuid(os.getuid()).pw_dir
    root = Path(given) if os.path.isabs(given) else Path(home, below_home)  # XDG: ignore a relative path
    return private_directory(root / program)


def private_directory(path: Path, *, parents: bool = True) -> Path:
    """Make the folder `path` (mode 0700) and its parents, or check that only this user can write it; return `path`.

    Without `parents`, the folder above it must exist: a background process must not bring back a folder that was
    removed. Raises `HostNotReady` when it cannot be made, is no folder, or another user could write to it.
    """
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = os.lstat(path)
    except OSError as error:
        raise HostNotReady(f"cannot use the folder {path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise HostNotReady(
            f"{path} is not a folder that only you can write to",
            hint="remove it, change its owner or mode, or choose another with XDG_CACHE_HOME or XDG_STATE_HOME",
        )
    return path


def file_version(path: Path) -> tuple[int, int, int]:
    """Return what changes when the file `path` is replaced or written: inode, size, ns of its last change."""
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def write_private(path: Path, content: bytes) -> None:
    """Write the new file `path` (mode 0600); raises `OSError`, and `FileExistsError` when it is there already."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)


def write_atomic(path: Path, text: str, *, parents: bool = True) -> None:
    """Write `text` to `path`: a reader sees the old content or the new one, never a part. Nothing is flushed to disk.

    Makes the folder of `path` private (`private_directory`). Raises `NoSpace`, `HostNotReady` or `OSError`; `path` then
    has its old content.
    """
    private_directory(path.parent, parents=parents)
    scratch = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        scratch.write_text(text)
        scratch.replace(path)
    except OSError as error:
        raise no_space(error, path) from error
    finally:
        scratch.unlink(missing_ok=True)


def write_durable(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    """Write `content` to `path` so that it survives a crash of the host once this has returned.

    A reader sees the old content or the new one, never a part. The folder must exist. Raises `NoSpace` or `OSError`;
    `path` then has its old content.
    """
    scratch = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # a rename is durable when its folder is
        finally:
            os.close(folder)
    except OSError as error:
        raise no_space(error, path) from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, deadline_seconds: float, shared: bool = False, what: str = "") -> Iterator[int]:
    """Hold an flock on the file `path` while the block runs; yields its descriptor.

    Makes the file when it is missing. The kernel drops the lock when the process dies, however it dies. The holder of
    an exclusive lock may remove the file. `what` names the lock in errors. Raises `Busy` after `deadline_seconds`
    (0: after one try) and `HostNotReady` when `path` is a folder that is not empty.
    """
    end = time.monotonic() + deadline_seconds
    while True:
        fd = _open_lock(path)
        try:
            _lock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, end, path, what or path.name)
            if _still_there(fd, path):
                yield fd
                return
        finally:
            os.close(fd)


def _open_lock(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except IsADirectoryError as error:
        with suppress(OSError):
            path.rmdir()
            return os.open(path, flags, 0o600)
        raise HostNotReady(f"{path} is a folder where a lock file belongs", hint="move that folder away") from error


def _still_there(fd: int, path: Path) -> bool:
    """Return whether `path` is still the file that was locked: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(fd: int, kind: int, end: float, path: Path, what: str) -> None:
    pause = 0.001
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        left = end - time.monotonic()
        if left <= 0:
            raise busy_error(what, lock_holders(path))
        # No flock call waits with a time limit and is safe in threads, so this polls, at growing intervals.
        time.sleep(min(pause, left))
        pause = min(pause * 2, 0.05)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Build a folder that appears at `target` complete or not at all.

    Yields an empty scratch folder (mode 0755) beside `target`. When the block ends without an error, its files are
    flushed to disk and it is renamed to `target`; an older `target` is replaced. A crash leaves only the scratch
    folder, which `abandoned_scratch` finds. Raises `NoSpace` when the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_path(target.parent)
    scratch.mkdir()
    scratch.chmod(0o755)  # whatever the umask: a caged engine runs as another user when we are root
    try:
        yield scratch
        _sync_tree(scratch)
        replaced = scratch_path(target.parent)
        if target.exists():
            target.rename(replaced)
        scratch.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise no_space(error, target) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def no_space(error: OSError, where: Path) -> Exception:
    """Return a `NoSpace` that names `where` if `error` says that the disk is full, else `error` itself."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"the disk that holds {where} is full",
            hint=Hint("free some space; {} removes unused environments", Verb("env prune")),
        )
    return error


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make an empty private folder for the time of the block; those that killed processes left are removed first."""
    parent = private_directory(Path(tempfile.gettempdir(), f"{_NAME}-{os.getuid()}-scratch"))
    for left in abandoned_scratch(parent):
        shutil.rmtree(left, ignore_errors=True)
    folder = scratch_path(parent)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def scratch_path(folder: Path) -> Path:
    """Return an unused path in `folder` whose name holds our pid, so that `abandoned_scratch` finds it when we die."""
    return folder / f"{_SCRATCH}{os.getpid()}-{secrets.token_hex(8)}"


def abandoned_scratch(folder: Path) -> list[Path]:
    """Return what `scratch_path` named in `folder` and whose process has ended."""
    found = ((path, path.name.split("-")[1]) for path in folder.glob(f"{_SCRATCH}*"))
    return [path for path, owner in found if not (owner.isdigit() and Path("/proc", owner).exists())]


def _sync_tree(folder: Path) -> None:
    """Flush every file below `folder` to disk, so that after a crash the name never exists without the contents."""
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                fd = os.open(path, os.O_RDONLY)
                try:
                    os.fdatasync(fd)
                finally:
                    os.close(fd)


_RESERVE_FILES, _RESERVE_BYTES = 8, 512 * 1024


def is_full(folder: Path) -> bool:
    """Return whether the disk that holds `folder` has fewer than 256 blocks or 16 inodes left."""
    found = os.statvfs(folder)
    # A file system that makes inodes on demand reports a total of 0.
    return found.f_bavail < 256 or (found.f_files > 0 and found.f_favail < 16)


def require_space(folder: Path) -> None:
    """Raise `NoSpace` when the disk that holds `folder` is full."""
    if is_full(folder):
        raise no_space(OSError(errno.ENOSPC, "full"), folder)


def keep_reserve(folder: Path) -> None:
    """Keep 4 MiB in 8 files in `folder`, for `release_reserve` to free when the disk is full; less if less is left."""
    with suppress(OSError):
        if not folder.is_dir():
            folder.unlink(missing_ok=True)
            folder.mkdir(mode=0o700)
        for number in range(_RESERVE_FILES):
            path = folder / str(number)
            if not path.exists():
                _allocate(path)


def release_reserve(folder: Path) -> None:
    """Free what `keep_reserve` keeps in `folder`."""
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
    else:
        folder.unlink(missing_ok=True)  # earlier versions kept one file


def _allocate(path: Path) -> None:
    with open(path, "xb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
        except OSError:
            path.unlink()
            raise
