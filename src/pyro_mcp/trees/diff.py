"""Compare a workspace's tree with its baseline: entries, counts, and one patch in git's format."""

from __future__ import annotations

import os
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from pyro_mcp.guest_protocol.tree_stream import Change, Side
from pyro_mcp.results import ChangeStatus, Diff, DiffEntry
from pyro_mcp.trees.files import ARTIFACT_TYPES
from pyro_mcp.trees.git import (
    Blob,
    GitChange,
    bare_repository,
    git_mode,
    is_git_internal,
    is_representable,
    parse_raw_changes,
    quoted,
)
from pyro_mcp.trees.gitignore import ignored_changes, topmost
from pyro_mcp.trees.guest_tree import GuestTree, View, folders_above

MAX_FILE = 2 * 1024 * 1024
"""Largest file, in bytes, that the patch includes."""
MAX_PATCH = 64 * 1024 * 1024
"""Total bytes of the files that one patch compares; files beyond the limit are left out."""
_DIFF = ("diff-tree", "-r", "-z", "--raw", "-p", "--full-index", "--no-ext-diff", "--no-textconv")
MAX_FILES = 20_000
"""Number of files that one patch compares: git on the host takes a second for some 10,000."""
_MAX_NAMED = 20
_SECTION = re.compile(rb"^(?=diff --git )", re.MULTILINE)
_BINARY = re.compile(rb"^(GIT binary patch|Binary files .* differ)$", re.MULTILINE)


def diff(tree: GuestTree, *, patch: bool = True, include_ignored: bool = False, binary: bool = False) -> Diff:
    """Compare with the baseline; the patch applies to the seed with `git apply`.

    Ignored changes are counted and left out unless `include_ignored`. Text files come first in the patch. Without
    `binary` the patch only mentions files that are not text; with both options it turns the seed into the whole tree.
    Git represents files, whether they are executable, and links. Empty folders, other modes and special files are only
    in the entries; a folder is an entry only if no change is in it. `git apply` refuses one case: a folder that
    replaces a link which cannot be followed, such as a link to itself. Without `patch` no file is read, and only what
    moved with a folder counts as renamed.
    """
    listed = tree.changes()
    changes = listed.found
    outside = [change for change in changes if not is_git_internal(change.path)]
    ignored = set() if include_ignored else ignored_changes(tree, outside)
    shown = [change for change in outside if change.path not in ignored]
    found = _patch(tree, shown, binary=binary) if patch else _Patch(renames=_moves(shown))
    entries = list(_entries(outside, ignored, found))
    counts = Counter(entry["status"] for entry in entries)
    text_count = sum(entry["text_patch"] is not None for entry in entries)
    return {
        "changed": bool(changes),
        "summary": {
            "total": len(entries),
            "added": counts["added"],
            "modified": counts["modified"],
            "deleted": counts["deleted"],
            "type_changed": counts["type_changed"],
            "renamed": counts["renamed"],
            "text_patched": text_count,
            "non_text": len(entries) - text_count,
        },
        "entries": entries,
        "git_changes": len(changes) - len(outside),
        "ignored_count": sum(change.path in ignored and not _is_folder(change) for change in outside),
        "ignored": [os.fsdecode(path) for path in topmost(ignored)[:_MAX_NAMED]],
        "patch": os.fsdecode(found.text),
        "patch_complete": patch and not found.left_out and not listed.unlisted,
        "left_out": [os.fsdecode(path) for path in [*found.left_out, *listed.unlisted]],
    }


@dataclass(frozen=True)
class _Patch:
    """The patch, its sections by path, the old paths of renames by their new ones, and the paths left out."""

    text: bytes = b""
    sections: Mapping[bytes, bytes] = field(default_factory=dict)
    renames: Mapping[bytes, bytes] = field(default_factory=dict)
    left_out: Sequence[bytes] = ()


def _patch(tree: GuestTree, changes: Sequence[Change], *, binary: bool) -> _Patch:
    # A file that only moved need not be read, unless git then pairs its stand-in with another file.
    for stand_ins, renames in ((_stand_ins(changes), "-M"), ({}, "-M"), ({}, "--no-renames")):
        sides = _within_limits(changes, stand_ins)
        blobs = {view: _blobs(tree, view, found, stand_ins) for view, found in sides.items()}
        # Leave out files that changed after they were listed.
        lost = {path for view, found in sides.items() for path in found if path not in blobs[view]}
        trees = {
            view: {path: blob for path, blob in found.items() if path not in lost} for view, found in blobs.items()
        }
        git_changes, text = _compare(trees, [renames, *(["--binary"] if binary else [])])
        new_folders = {folder for path in trees["merged"] for folder in folders_above(path)}
        if not any(_mispaired(change, stand_ins, new_folders) for change in git_changes):
            break
    sections = _sections(git_changes, text)
    not_text = {path for path, section in sections.items() if _BINARY.search(section)}
    by_path = {change.path: change for change in changes}
    last = [sections[path] if binary else _mention(by_path[path]) for path in sections if path in not_text]
    left_out = {change.path for change in changes if change.path in lost or not _is_in_patch(change, trees)}
    return _Patch(
        text=b"".join([*(section for path, section in sections.items() if path not in not_text), *last]),
        sections=sections,
        renames={change.path: change.old_path for change in git_changes if change.old_path is not None},
        left_out=sorted(left_out if binary else left_out | not_text),
    )


def _mention(change: Change) -> bytes:
    """Return a line that names a change which is not text; `git apply` ignores the line."""
    sizes = [b"%d" % side.size if side is not None else b"none" for side in (change.old, change.new)]
    return b'# binary: "%b", %b, bytes: %b -> %b\n' % (quoted(change.path), _status(change).encode(), *sizes)


def _stand_ins(changes: Sequence[Change]) -> dict[bytes, bytes]:
    """Return stand-ins for the content of files of which only the mode or the path has changed."""
    token = secrets.token_hex(16).encode()  # so that no real content equals a stand-in
    found = {change.path: b"%b %b" % (token, change.path) for change in changes if not change.content_differs}
    for inode, (old_paths, new_paths) in _moved_inodes(changes).items():
        found |= dict.fromkeys((*old_paths, *new_paths), b"%b %d" % (token, inode))
    return found


def _moved_inodes(changes: Sequence[Change]) -> dict[int, tuple[list[bytes], list[bytes]]]:
    """For each file of the baseline that lost names and got as many elsewhere: the old paths, the new ones."""
    found: dict[int, tuple[list[bytes], list[bytes]]] = defaultdict(lambda: ([], []))
    for change in changes:
        if change.old is not None and change.new is None and change.old.kind == "f":
            found[change.old.inode][0].append(change.path)
        elif change.old is None and change.origin:
            found[change.origin][1].append(change.path)
    return {inode: paths for inode, paths in found.items() if len(paths[0]) == len(paths[1])}


def _moves(changes: Sequence[Change]) -> dict[bytes, bytes]:
    """Return the old paths by the new ones of files that moved with a folder."""
    return {
        new: old
        for old_paths, new_paths in _moved_inodes(changes).values()
        for old, new in zip(old_paths, new_paths, strict=True)
    }


def _within_limits(changes: Sequence[Change], stand_ins: Mapping[bytes, bytes]) -> dict[View, dict[bytes, Side]]:
    """Return the sides of the changes that git compares, within the limits."""
    sides: dict[View, dict[bytes, Side]] = {"baseline": {}, "merged": {}}
    bytes_left, files_left = MAX_PATCH, MAX_FILES
    for change in changes:
        both: list[tuple[View, Side | None]] = [("baseline", change.old), ("merged", change.new)]
        shown = [(view, side) for view, side in both if side is not None and is_representable(change.path, side.kind)]
        sizes = [0] if change.path in stand_ins else [side.size for _, side in shown]
        if max(sizes, default=0) <= MAX_FILE and sum(sizes) <= bytes_left and len(shown) <= files_left:
            bytes_left -= sum(sizes)
            files_left -= len(shown)
            for view, side in shown:
                sides[view][change.path] = side
    return sides


def _blobs(
    tree: GuestTree, view: View, sides: Mapping[bytes, Side], stand_ins: Mapping[bytes, bytes]
) -> dict[bytes, Blob]:
    """Return the content of one view for git, without paths that changed after they were listed."""
    wanted = [path for path in sides if path not in stand_ins]
    found = tree.contents(wanted, MAX_FILE + 1, view=view, skip_missing=True)
    blobs = {}
    for path, side in sides.items():
        data = stand_ins.get(path)
        if data is None and path in found:
            entry, content = found[path]
            data = entry.target if entry.kind == "l" else content
            if entry.kind != side.kind or len(data) > MAX_FILE:
                continue
        if data is not None:
            blobs[path] = Blob(git_mode(side.kind, side.mode), data)
    return blobs


def _compare(trees: Mapping[View, Mapping[bytes, Blob]], options: Sequence[str]) -> tuple[list[GitChange], bytes]:
    """Return git's changes and patch from one tree to the other."""
    if not any(trees.values()):
        return [], b""
    not_text = {path for tree in trees.values() for path, blob in tree.items() if not _is_text(blob.data)}
    with bare_repository() as repository:
        repository.import_trees({str(view): tree for view, tree in trees.items()})
        repository.treat_as_binary(sorted(not_text))
        return parse_raw_changes(repository.git(*_DIFF, *options, "refs/heads/baseline", "refs/heads/merged"))


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _mispaired(change: GitChange, stand_ins: Mapping[bytes, bytes], new_folders: set[bytes]) -> bool:
    """Return whether a change shows the content of a stand-in, or renames a path that is a folder now.

    `git apply` refuses the latter: it does not see that a renamed link no longer is at its old path.
    """
    shown = change.old_id != change.new_id and not stand_ins.keys().isdisjoint({change.path, change.old_path})
    return shown or change.old_path in new_folders


def _sections(changes: Sequence[GitChange], text: bytes) -> dict[bytes, bytes]:
    """Return the section of the patch for each change. A type change has two: a deletion and an addition."""
    pieces = iter(_SECTION.split(text)[1:] if text else ())
    return {
        change.path: b"".join(_well_named(next(pieces), change) for _ in range(2 if change.status == "T" else 1))
        for change in changes
    }


def _well_named(section: bytes, change: GitChange) -> bytes:
    """Return the section with quotes in its first line if git could not separate the names there otherwise."""
    old, new = change.old_path or change.path, change.path
    if b" " not in old + new:
        return section
    return b'diff --git "a/%b" "b/%b"\n' % (quoted(old), quoted(new)) + section.partition(b"\n")[2]


def _is_in_patch(change: Change, trees: Mapping[View, Mapping[bytes, Blob]]) -> bool:
    """Return whether the patch includes all of a change that git can represent; git has no folders."""
    sides: list[tuple[View, Side | None]] = [("baseline", change.old), ("merged", change.new)]
    return all(side is None or side.kind == "d" or change.path in trees[view] for view, side in sides)


def _entries(changes: Sequence[Change], ignored: set[bytes], found: _Patch) -> Iterator[DiffEntry]:
    by_path = {change.path: change for change in changes}
    renames = {
        new: by_path[old] for new, old in found.renames.items() if by_path[new].old is None and by_path[old].new is None
    }
    moved_away = {change.path for change in renames.values()}
    for change, after in zip_longest(changes, changes[1:]):
        has_content = after is not None and after.path.startswith(change.path + b"/")
        is_container = has_content and _is_folder(change)
        if change.path not in moved_away and change.path not in ignored and not is_container:
            yield _entry(change, renames.get(change.path), found.sections.get(change.path))


def _is_folder(change: Change) -> bool:
    """Return whether a folder was added or deleted."""
    return (change.old is None or change.new is None) and (change.old or change.new or _NOTHING).kind == "d"


def _entry(change: Change, renamed: Change | None, section: bytes | None) -> DiffEntry:
    old, new = renamed.old if renamed else change.old, change.new
    present = new or old or _NOTHING
    return {
        "path": os.fsdecode(change.path),
        "old_path": os.fsdecode(renamed.path) if renamed else None,
        "status": "renamed" if renamed else _status(change),
        "artifact_type": ARTIFACT_TYPES[present.kind],
        "old_artifact_type": ARTIFACT_TYPES[old.kind] if old else None,
        "size_bytes": new.size if new else None,
        "old_size_bytes": old.size if old else None,
        "mode": f"{new.mode:04o}" if new else None,
        "old_mode": f"{old.mode:04o}" if old else None,
        "text_patch": os.fsdecode(section) if section is not None and not _BINARY.search(section) else None,
    }


_NOTHING = Side("f", 0, 0)


def _status(change: Change) -> ChangeStatus:
    if change.old is None:
        return "added"
    if change.new is None:
        return "deleted"
    return "modified" if change.old.kind == change.new.kind else "type_changed"
