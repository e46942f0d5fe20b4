"""Folders by the XDG rules, locks that die with their process, and files that appear whole or not at all."""

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
from pyro_mcp.host.lock_holders import lock_holders, waiting_for

_NAME = "pyro-mcp"


def cache_home() -> Path:
    """Where rebuildable things live: environments, kernels, templates. `$XDG_CACHE_HOME/pyro-mcp`."""
    return _base("XDG_CACHE_HOME", ".cache")


def state_home() -> Path:
    """Where the database and the machines' disks live. `$XDG_STATE_HOME/pyro-mcp`."""
    return _base("XDG_STATE_HOME", ".local/state")


def _base(variable: str, below_home: str) -> Path:
    given, home = os.environ.get(variable, ""), os.environ.get("HOME", "")
    if not os.path.isabs(home):
        home = pwd.getpwuid(os.getuid()).pw_dir
    root = Path(given) if os.path.isabs(given) else Path(home, below_home)  # by the specification
    return private_directory(root / _NAME)


def private_directory(path: Path) -> Path:
    """Make `path` (and its parents) for us alone, or check that nobody else can write what is there.

    Raises `HostNotReady` when it cannot be used.
    """
    try:
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


def write_whole(path: Path, text: str) -> None:
    """Have `path` hold `text`, at every moment either that or what it held before."""
    private_directory(path.parent)
    scratch = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        scratch.write_text(text)
        scratch.replace(path)
    except OSError as error:
        raise no_space(error, path) from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, deadline_seconds: float, shared: bool = False, what: str = "") -> Iterator[int]:
    """Hold `path` as a lock file; yields its descriptor.

    The kernel drops the lock when the process dies, however it dies. Raises `Busy` after `deadline_seconds`;
    0 tries once. The holder of an exclusive lock may remove the file. Raises `HostNotReady` when it cannot be opened.
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
            path.rmdir()  # an empty one holds nothing that could be lost
            return os.open(path, flags, 0o600)
        raise HostNotReady(f"{path} is a folder where a lock file belongs", hint="move that folder away") from error


def _still_there(fd: int, path: Path) -> bool:
    """Whether `path` is still the file that was locked: its last holder may have removed it."""
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
            raise waiting_for(what, lock_holders(path))
        # flock has no wait with a time limit that is safe in threads, so this polls, ever more slowly.
        time.sleep(min(pause, left))
        pause = min(pause * 2, 0.05)


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """Build a folder that appears at `target` whole or not at all.

    Yields an empty scratch folder beside `target`; when the block ends without error it is renamed into place
    (an older `target` is replaced). A crash leaves only the scratch folder, which `abandoned_scratch` finds.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.parent / f".scratch-{os.getpid()}-{secrets.token_hex(4)}"
    scratch.mkdir()
    scratch.chmod(0o755)  # whatever the umask: the caged QEMU is somebody else when we are root
    try:
        yield scratch
        _sync_tree(scratch)
        replaced = target.parent / f".scratch-{os.getpid()}-{secrets.token_hex(4)}"
        if target.exists():
            target.rename(replaced)
        scratch.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise no_space(error, target) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def no_space(error: OSError, where: Path) -> Exception:
    """`error` itself, or a `NoSpace` that names the disk when that is what happened."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"the disk that holds {where} is full", hint="free some space; 'pyro env prune' removes unused environments"
        )
    return error


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder of our own for as long as the block runs; those of killed processes are removed first."""
    parent = private_directory(Path(tempfile.gettempdir(), f"{_NAME}-{os.getuid()}-scratch"))
    for left in abandoned_scratch(parent):
        shutil.rmtree(left, ignore_errors=True)
    folder = parent / f".scratch-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def abandoned_scratch(folder: Path) -> list[Path]:
    """The scratch folders of `published` and `temporary_folder` whose process is gone."""
    found = ((path, path.name.split("-")[1]) for path in folder.glob(".scratch-*"))
    return [path for path, owner in found if not (owner.isdigit() and Path("/proc", owner).exists())]


def _sync_tree(folder: Path) -> None:
    """Flush every file below `folder`, so that the rename never outlives the contents."""
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
    """Whether the disk that holds `folder` has hardly any blocks or inodes left."""
    found = os.statvfs(folder)
    # A file system that makes inodes as it needs them counts none.
    return found.f_bavail < 256 or (found.f_files > 0 and found.f_favail < 16)


def require_room(folder: Path) -> None:
    """Raise `NoSpace` when the disk that holds `folder` is full."""
    if is_full(folder):
        raise no_space(OSError(errno.ENOSPC, "full"), folder)


def keep_reserve(folder: Path) -> None:
    """Hold back 4 MiB and 8 inodes in `folder`, to be given back when the disk is full; less where there is less."""
    with suppress(OSError):
        if not folder.is_dir():
            folder.unlink(missing_ok=True)
            folder.mkdir(mode=0o700)
        for number in range(_RESERVE_FILES):
            path = folder / str(number)
            if not path.exists():
                _allocate(path)


def release_reserve(folder: Path) -> None:
    """Give back what `keep_reserve` holds."""
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
    else:
        folder.unlink(missing_ok=True)  # one file, as it was made at first


def _allocate(path: Path) -> None:
    with open(path, "xb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
        except OSError:
            path.unlink()
            raise
