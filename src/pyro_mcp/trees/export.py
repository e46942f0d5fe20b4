"""A file or folder of a workspace, copied to the host."""

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

MOST_BYTES = 16 << 30
"""Bytes that a copy may put on the host's disk, unless more is asked for."""
MOST_ENTRIES = 1_000_000


def export(
    tree: GuestTree,
    path: str | bytes,
    output: Path,
    *,
    state: Path,
    overwrite: bool,
    max_bytes: int = MOST_BYTES,
    max_entries: int = MOST_ENTRIES,
) -> Export:
    """ExportReceiver one file or folder to `output`, which appears whole or not at all.

    Kept are contents with their holes, times, modes without set-id bits, and links that stay inside the copy; a folder
    can always be used by its owner. Of a `.git` come data and harmless settings only, with an index made from HEAD.
    What else there is, and what goes beyond the bounds, comes back in `skipped`. Raises `NotFound`, `Conflict` when
    something is at `output` and it may not be replaced, `NoSpace`. What a killed export leaves is noted in `state`.
    """
    if max_bytes < 0 or max_entries < 1:
        raise InvalidRequest(f"max_bytes {max_bytes} and max_entries {max_entries} leave no room for a copy")
    inner = inner_path(path)
    target = _target(output, inner)
    if not overwrite and os.path.lexists(target):
        raise _existing(target)
    with staging_folder(target, state) as staging:
        with SafeWriter(staging) as landing:
            copy = ExportReceiver(landing, inner, ExportLimits(max_bytes, max_entries))
            try:
                tree.walk(copy, [inner], content=None, on_hole=copy.hole, on_unlisted=copy.unlisted)
                copy.finish()
            finally:
                copy.file_end()
        copy.make_indexes(staging)
        self_running = copy.self_running(tree)
        _put_in_place(staging / os.fsdecode(ROOT), target, overwrite=overwrite)
    return {
        "workspace_path": guest_path(inner),
        "output_path": str(target),
        "artifact_type": ARTIFACT_TYPES[copy.first().kind],
        "entry_count": copy.entry_count,
        "bytes_written": copy.bytes_written,
        "skipped": copy.skipped,
        "skipped_count": copy.skipped_count,
        "self_running": self_running,
    }


def _target(output: Path, inner: bytes) -> Path:
    """The absolute path of a copy; raises `InvalidRequest` for one that git would take for its own."""
    if "\0" in str(output):
        raise InvalidRequest("output_path holds a NUL byte, which no path can")
    target = Path(os.path.abspath(output))
    exported = git_folder(inner)
    if git_folder(os.fsencode(target)) is not None and (exported is None or exported[1]):
        raise InvalidRequest(
            f"{target} is in a .git folder, where git could run what the guest wrote", hint="choose another place"
        )
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent} to put the copy in", hint="make it first")
    return target


def _existing(target: Path) -> Conflict:
    return Conflict(
        f"{target} exists already",
        hint=Hint.joined("choose another path", Hint("{} replaces it", Argument("overwrite", True))),
    )


def _refuse_to_lose(target: Path, new: Path) -> None:
    """Replacing is for an earlier copy: never a folder by a file, nor a folder that people or programs live in."""
    was_folder = target.is_dir() and not target.is_symlink()
    if was_folder != (new.is_dir() and not new.is_symlink()) or not (was_folder or target.is_file()):
        raise Conflict(f"{target} is of another kind than what would replace it", hint="remove it yourself")
    lived_in = [Path.cwd(), Path.home()] if was_folder else []
    if os.path.ismount(target) or any(path.resolve().is_relative_to(target.resolve()) for path in lived_in):
        raise Conflict(f"{target} holds your home or working folder, or a mount", hint="choose another place")


def _put_in_place(new: Path, target: Path, *, overwrite: bool) -> None:
    try:
        if overwrite and os.path.lexists(target):
            _refuse_to_lose(target, new)
            exchange(new, target)
        else:
            move_new(new, target)
    except FileExistsError as error:
        raise _existing(target) from error
    except OSError as error:
        if (full := no_space(error, target)) is not error:
            raise full from error
        raise InvalidRequest(f"the copy cannot be put at {target}: {error.strerror}") from error
