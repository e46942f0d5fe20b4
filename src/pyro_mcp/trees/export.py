"""Export: copy a file or folder of a workspace to the host."""

from __future__ import annotations

import os
from pathlib import Path

from pyro_mcp.errors import Conflict, InvalidRequest, NotFound
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.host.files import no_space
from pyro_mcp.host.staging import exchange, move_new, staging_folder
from pyro_mcp.results import Export
from pyro_mcp.trees.export_receiver import ROOT, ExportLimits, ExportReceiver
from pyro_mcp.trees.files import ARTIFACT_TYPES
from pyro_mcp.trees.git_folders import git_folder
from pyro_mcp.trees.guest_tree import GuestTree, guest_path, inner_path
from pyro_mcp.trees.safe_writer import SafeWriter

MAX_EXPORT_BYTES = 16 << 30
"""Default limit of the bytes that an export writes to the host's disk."""
MAX_EXPORT_ENTRIES = 1_000_000


def export(
    tree: GuestTree,
    path: str | bytes,
    output: Path,
    *,
    state: Path,
    overwrite: bool,
    max_bytes: int = MAX_EXPORT_BYTES,
    max_entries: int = MAX_EXPORT_ENTRIES,
) -> Export:
    """Copy one file or folder to `output`, which appears complete or not at all.

    The copy keeps contents with their holes, times, modes without set-id bits, and links that stay inside the copy; the
    owner has all rights in each folder. From `.git` it has only commits, refs, the HEAD log, safe settings and an index
    made from HEAD. Everything else, and what exceeds the limits, is listed in `skipped`. Raises `NotFound`, `Conflict`
    when `output` exists and may not be replaced, `NoSpace`. `state` records what to remove if the export is killed.
    """
    if max_bytes < 0 or max_entries < 1:
        raise InvalidRequest(f"max_bytes {max_bytes} and max_entries {max_entries} allow no copy")
    inner = inner_path(path)
    target = _target(output, inner)
    if not overwrite and os.path.lexists(target):
        raise _existing(target)
    with staging_folder(target, state) as staging:
        with SafeWriter(staging) as writer:
            receiver = ExportReceiver(writer, inner, ExportLimits(max_bytes, max_entries))
            try:
                tree.walk(receiver, [inner], content=None, on_hole=receiver.hole, on_unlisted=receiver.unlisted)
                receiver.finish()
            finally:
                receiver.file_end()
        receiver.make_indexes(staging)
        self_running = receiver.self_running(tree)
        _put_in_place(staging / os.fsdecode(ROOT), target, overwrite=overwrite)
    return {
        "workspace_path": guest_path(inner),
        "output_path": str(target),
        "artifact_type": ARTIFACT_TYPES[receiver.first().kind],
        "entry_count": receiver.entry_count,
        "bytes_written": receiver.bytes_written,
        "skipped": receiver.skipped,
        "skipped_count": receiver.skipped_count,
        "self_running": self_running,
    }


def _target(output: Path, inner: bytes) -> Path:
    """Return the absolute path of a copy; raises `InvalidRequest` for a path in a `.git`, and `NotFound`."""
    if "\0" in str(output):
        raise InvalidRequest("output_path holds a NUL byte")
    target = Path(os.path.abspath(output))
    exported = git_folder(inner)
    if git_folder(os.fsencode(target)) is not None and (exported is None or exported[1]):
        raise InvalidRequest(
            f"{target} is in a .git folder, where git could run files of the guest",
            hint="choose another path",
        )
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent}", hint="make the folder first")
    return target


def _existing(target: Path) -> Conflict:
    return Conflict(
        f"{target} exists already",
        hint=Hint.joined("choose another path", Hint("{} replaces it", Argument("overwrite", True))),
    )


def _check_replaceable(target: Path, new: Path) -> None:
    """Raise `Conflict` unless `target` may be an earlier copy: of the same kind, and neither a home nor a mount."""
    was_folder = target.is_dir() and not target.is_symlink()
    if was_folder != (new.is_dir() and not new.is_symlink()) or not (was_folder or target.is_file()):
        raise Conflict(f"{target} is not of the same kind as the copy", hint="remove it yourself")
    in_use = [Path.cwd(), Path.home()] if was_folder else []
    if os.path.ismount(target) or any(path.resolve().is_relative_to(target.resolve()) for path in in_use):
        raise Conflict(f"{target} holds your home or working folder, or a mount", hint="choose another path")


def _put_in_place(new: Path, target: Path, *, overwrite: bool) -> None:
    try:
        if overwrite and os.path.lexists(target):
            _check_replaceable(target, new)
            exchange(new, target)
        else:
            move_new(new, target)
    except FileExistsError as error:
        raise _existing(target) from error
    except OSError as error:
        if (full := no_space(error, target)) is not error:
            raise full from error
        raise InvalidRequest(f"cannot move the copy to {target}: {error.strerror}") from error
