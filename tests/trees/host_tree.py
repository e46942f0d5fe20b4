"""Trees on folders of this host: the guest's own tool walks and edits them, and overlays are compared in Python."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pyro_mcp.errors import GuestFailed, NoSpace, NotFound
from pyro_mcp.guest_protocol.frames import encode_fields
from pyro_mcp.guest_protocol.tree_stream import Kind, Tag, Type
from pyro_mcp.trees.guest_tree import GuestTree

DEADLINE = 60.0
_KINDS: Mapping[int, Kind] = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}


@dataclass
class HostTool:
    """Runs the real tool; `changes` of plain folders is worked out here by reading both. `calls` are remembered."""

    binary: Path
    calls: list[str] = field(default_factory=list)
    before: Sequence[str] = ()
    """Words before the tool's own: to run it elsewhere."""
    compares: bool = True

    def __call__(
        self,
        arguments: Sequence[str | bytes],
        *,
        stdin: bytes | IO[bytes] | None = None,
        on_stdout: Callable[[bytes], None],
    ) -> None:
        self.calls.append(str(arguments[0]))
        if arguments[0] == "changes" and self.compares:
            on_stdout(compared(Path(os.fsdecode(arguments[2])), Path(os.fsdecode(arguments[3]))))
            return
        argv = [*self.before, self.binary, *arguments]
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with child:
            assert child.stdout is not None and child.stderr is not None
            if isinstance(stdin, bytes) and child.stdin is not None:
                child.stdin.write(stdin)
                child.stdin.close()
            try:
                while data := os.read(child.stdout.fileno(), 256 * 1024):
                    on_stdout(data)
                said = child.stderr.read().decode(errors="replace").strip()
            except BaseException:
                child.kill()
                raise
        if child.returncode != 0:
            raise complaint(said)


def complaint(said: str) -> Exception:
    """The error for what the tool says, as the workspaces' own runner makes it."""
    if "No space left on device" in said:
        return NoSpace(said)
    return NotFound(said) if "No such file or directory" in said else GuestFailed(said)


@dataclass(frozen=True)
class HostTree:
    """A tree whose baseline and workspace are plain folders."""

    tree: GuestTree
    tool: HostTool
    baseline: Path
    workspace: Path


def host_tree(binary: Path, area: Path) -> HostTree:
    """A tree in two new empty folders below `area`."""
    baseline, workspace = area / "baseline", area / "workspace"
    baseline.mkdir(parents=True)
    workspace.mkdir()
    tool = HostTool(binary)
    return HostTree(
        GuestTree(tool, merged=str(workspace), baseline=str(baseline), upper="none"), tool, baseline, workspace
    )


def compared(old: Path, new: Path) -> bytes:
    """What `changes` says of two folders, both read from end to end."""
    frames = list(_differences(os.fsencode(old), os.fsencode(new), b""))
    return b"".join([*frames, encode_fields(Type.END, [(Tag.COUNT, len(frames))])])


def _differences(old: bytes | None, new: bytes | None, path: bytes) -> Iterator[bytes]:
    """What differs between two folders; one may be missing, or be something else, and is None then."""
    names = {name for folder in (old, new) if folder is not None for name in os.listdir(folder)}
    for name in sorted(names):
        old_path, before = _found(old, name)
        new_path, after = _found(new, name)
        fields: list[tuple[int, bytes | int]] = [(Tag.PATH, os.path.join(path, name))]
        if before is not None:
            fields += zip((Tag.OLD_KIND, Tag.OLD_MODE, Tag.OLD_SIZE), _facts(before), strict=True)
            fields.append((Tag.OLD_INODE, before.st_ino))
        if after is not None:
            fields += zip((Tag.NEW_KIND, Tag.NEW_MODE, Tag.NEW_SIZE), _facts(after), strict=True)
        if before is None or after is None or _facts(before)[0] != _facts(after)[0]:
            yield encode_fields(Type.CHANGE, fields)
        else:
            differs = _content(old_path) != _content(new_path)
            if differs or _facts(before)[1] != _facts(after)[1]:
                yield encode_fields(Type.CHANGE, [*fields, (Tag.CONTENT_DIFFERS, int(differs))])
        old_folder = old_path if before is not None and stat.S_ISDIR(before.st_mode) else None
        new_folder = new_path if after is not None and stat.S_ISDIR(after.st_mode) else None
        yield from _differences(old_folder, new_folder, os.path.join(path, name))


def _found(folder: bytes | None, name: bytes) -> tuple[bytes, os.stat_result | None]:
    if folder is None:
        return b"", None
    path = os.path.join(folder, name)
    return path, os.lstat(path) if os.path.lexists(path) else None


def _facts(found: os.stat_result) -> tuple[int, int, int]:
    kind = _KINDS[stat.S_IFMT(found.st_mode)]
    return ord(kind), stat.S_IMODE(found.st_mode), found.st_size if kind in "fl" else 0


def _content(path: bytes) -> bytes:
    if os.path.islink(path):
        return os.readlink(path)
    return Path(os.fsdecode(path)).read_bytes() if os.path.isfile(path) else b""
