"""Write files with untrusted names and contents into a folder of the host; no name or link can lead out of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_mcp.errors import InvalidRequest, NoSpace

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NANOSECONDS_KEPT = 1 << 62  # 146 years each way: what every file system here can hold


class SafeWriter:
    """Creates files, folders and links below `root`, a folder that no other process uses.

    Paths are bytes without empty, `.` and `..` components. Every folder on a path is opened by descriptor and never
    through a link. Set-id bits are dropped. Raises `InvalidRequest` for a name that cannot be created, `NoSpace` when
    the disk is full.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, _FOLDER)
        self._parent_path: bytes | None = None
        self._parent_fd = -1
        self._folders: dict[bytes, int] = {}

    def __enter__(self) -> SafeWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_parent()
        os.close(self._root)

    def make_folder(self, path: bytes, mode: int) -> None:
        """Make a folder, or change its mode, in which the owner always has all rights. `finish` sets the modes."""
        with self._parent_of(path) as (parent, name), suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        self._folders[path] = mode & 0o777 | 0o700

    def create_file(self, path: bytes, mode: int, mtime_ns: int) -> SafeFile:
        """Create a file and return it for writing."""
        with self._parent_of(path) as (parent, name):
            return SafeFile(os.open(name, _FILE, 0o600, dir_fd=parent), path, mode & 0o777, mtime_ns)

    def make_symlink(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link; its target is not checked."""
        with self._parent_of(path) as (parent, name):
            os.symlink(target, name, dir_fd=parent)

    def make_hard_link(self, path: bytes, existing: bytes) -> None:
        """Make `path` a second name of the file at `existing`."""
        with self._parent_of(existing) as (parent, name):
            source = os.dup(parent)
        try:
            with self._parent_of(path) as (parent, new):
                os.link(name, new, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def remove(self, path: bytes) -> None:
        """Remove the file, link or empty folder at `path`, if there is one."""
        with self._parent_of(path) as (parent, name), suppress(FileNotFoundError):
            try:
                os.unlink(name, dir_fd=parent)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=parent)
                self._folders.pop(path, None)
                self._close_parent()

    def finish(self) -> None:
        """Set the modes of the folders."""
        for path, mode in sorted(self._folders.items(), reverse=True):
            with self._parent_of(path) as (parent, name):
                folder = os.open(name, _FOLDER, dir_fd=parent)
                try:
                    os.fchmod(folder, mode)
                finally:
                    os.close(folder)

    @contextmanager
    def _parent_of(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the descriptor of the folder that a path is in, made if needed, and the name in that folder."""
        folder, _, name = path.rpartition(b"/")
        try:
            yield self._open(folder), name
        except OSError as error:
            raise _explained(error, path) from error

    def _open(self, folder: bytes) -> int:
        if folder == self._parent_path:
            return self._parent_fd
        self._close_parent()
        fd = os.dup(self._root)
        try:
            for name in folder.split(b"/") if folder else ():
                fd, above = _open_or_make(name, fd), fd
                os.close(above)
        except OSError:
            os.close(fd)
            raise
        self._parent_path, self._parent_fd = folder, fd
        return fd

    def _close_parent(self) -> None:
        if self._parent_path is not None:
            os.close(self._parent_fd)
            self._parent_path = None


def _open_or_make(name: bytes, parent: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)


class SafeFile:
    """A file open for writing; `close` sets its mode and time."""

    def __init__(self, fd: int, path: bytes, mode: int, mtime_ns: int) -> None:
        self._fd = fd
        self._path = path
        self._mode = mode
        self._end = 0
        self._mtime_ns = min(max(mtime_ns, -_NANOSECONDS_KEPT), _NANOSECONDS_KEPT)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise _explained(error, self._path) from error

    def skip(self, size: int) -> None:
        """Leave a hole."""
        try:
            self._end = os.lseek(self._fd, size, os.SEEK_CUR)
        except OSError as error:
            raise _explained(error, self._path) from error

    def close(self) -> None:
        try:
            if self._end > os.fstat(self._fd).st_size:
                os.truncate(self._fd, self._end)
            os.fchmod(self._fd, self._mode)
            os.utime(self._fd, ns=(self._mtime_ns, self._mtime_ns))
        except OSError as error:
            raise _explained(error, self._path) from error
        finally:
            os.close(self._fd)


def _explained(error: OSError, path: bytes) -> InvalidRequest | NoSpace:
    name = os.fsdecode(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"the host's disk is full: {name} does not fit", hint="free some space, or use another disk")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return InvalidRequest(f"{name} would be below something that is not a folder")
    return InvalidRequest(f"cannot create {name}: {error.strerror}")
