"""Files of the host as edits: what copies a file, a folder or an archive's content into the tree of a guest."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator

from pyro_mcp.guest_protocol.tree_edits import Edit

_PIECE = 1024 * 1024


def host_edits(root: bytes, is_pruned: Callable[[bytes], bool] = lambda _: False) -> Iterator[Edit]:
    """Yield the edits that copy `root`: itself, with an empty path, then what is below it, a folder before its content.

    Paths are relative to `root`; nothing at or below a pruned path is read. Symbolic links are copied as links;
    sockets, pipes and devices are left out. The content of a file is read when its edit is encoded.
    """
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        edit = _host_edit(root, path)
        if edit is None:
            continue
        yield edit
        if edit.action == "d":
            below = (posixpath.join(path, name) for name in os.listdir(os.path.join(root, path)))
            waiting += sorted((one for one in below if not is_pruned(one)), reverse=True)


def _host_edit(root: bytes, path: bytes) -> Edit | None:
    source = os.path.join(root, path) if path else root
    found = os.lstat(source)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode):
        return Edit(path, "d", mode=mode)
    if stat.S_ISLNK(found.st_mode):
        return Edit(path, "l", mtime_ns=found.st_mtime_ns, target=os.readlink(source))
    if stat.S_ISREG(found.st_mode):
        return Edit(path, "f", mode, found.st_mtime_ns, size=found.st_size, content=file_pieces(source))
    return None


def file_pieces(path: bytes) -> Iterator[bytes]:
    """Yield the content of a file of the host; raises `OSError` for a symbolic link."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        while data := file.read(_PIECE):
            yield data
