"""What a workspace's tree has become since its baseline: entries, counts, and one patch in git's format."""

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
    is_carried,
    is_git_internal,
    parse_raw_changes,
    quoted,
)
from pyro_mcp.trees.gitignore import ignored_changes, topmost
from pyro_mcp.trees.guest_tree import GuestTree, View, folders_above

LARGEST_FILE = 2 * 1024 * 1024
"""Bytes of a file above which the patch leaves it out."""
LARGEST_PATCH = 64 * 1024 * 1024
"""Bytes of all files that one patch looks at; what is beyond is left out too."""
_DIFF = ("diff-tree", "-r", "-z", "--raw", "-p", "--full-index", "--no-ext-diff", "--no-textconv")
MOST_FILES = 20_000
"""Files that one patch looks at: git on the host takes a second for some 10,000."""
_MOST_NAMED = 20
_SECTION = re.compile(rb"^(?=diff --git )", re.MULTILINE)
_BINARY = re.compile(rb"^(GIT binary patch|Binary files .* differ)$", re.MULTILINE)


def diff(tree: GuestTree, *, patch: bool = True, include_ignored: bool = False, binary: bool = False) -> Diff:
    """Compare with the baseline; the patch applies to the seed with `git apply`.

    What `.gitignore` files are about is counted and left out unless `include_ignored`. Text comes first. Without
    `binary` the patch only mentions files that are not text; with both it makes the seed into the whole tree.
    Git knows files, whether they are executable, and links. Empty folders, other modes and special files are told of
    by the entries alone; folders are entries only where nothing in them is. One thing `git apply` refuses: a folder
    in place of a link that cannot be followed, such as one to itself. Without `patch` nothing is read, and only what
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
    with_text = sum(entry["text_patch"] is not None for entry in entries)
    return {
        "changed": bool(changes),
        "summary": {
            "total": len(entries),
            "added": counts["added"],
            "modified": counts["modified"],
            "deleted": counts["deleted"],
            "type_changed": counts["type_changed"],
            "renamed": counts["renamed"],
            "text_patched": with_text,
            "non_text": len(entries) - with_text,
        },
        "entries": entries,
        "git_changes": len(changes) - len(outside),
        "ignored_count": sum(change.path in ignored and not _is_folder(change) for change in outside),
        "ignored": [os.fsdecode(path) for path in topmost(ignored)[:_MOST_NAMED]],
        "patch": os.fsdecode(found.whole),
        "patch_complete": patch and not found.left_out and not listed.unlisted,
        "left_out": [os.fsdecode(path) for path in [*found.left_out, *listed.unlisted]],
    }


@dataclass(frozen=True)
class _Patch:
    """Git's answer: the patch, its sections by path, old paths by new ones, and what is not in it."""

    whole: bytes = b""
    sections: Mapping[bytes, bytes] = field(default_factory=dict)
    renames: Mapping[bytes, bytes] = field(default_factory=dict)
    left_out: Sequence[bytes] = ()


def _patch(tree: GuestTree, changes: Sequence[Change], *, binary: bool) -> _Patch:
    # A file that only moved need not be read, unless git then pairs it with something else.
    for stand_ins, renames in ((_stand_ins(changes), "-M"), ({}, "-M"), ({}, "--no-renames")):
        sides = _within_limits(changes, stand_ins)
        blobs = {view: _blobs(tree, view, found, stand_ins) for view, found in sides.items()}
        # What is not the same any more as when it was listed is not shown as anything.
        lost = {path for view, found in sides.items() for path in found if path not in blobs[view]}
        trees = {
            view: {path: blob for path, blob in found.items() if path not in lost} for view, found in blobs.items()
        }
        records, whole = _compare(trees, [renames, *(["--binary"] if binary else [])])
        new_folders = {folder for path in trees["merged"] for folder in folders_above(path)}
        if not any(_mispaired(record, stand_ins, new_folders) for record in records):
            break
    sections = _sections(records, whole)
    not_text = {path for path, section in sections.items() if _BINARY.search(section)}
    by_path = {change.path: change for change in changes}
    last = [sections[path] if binary else _mention(by_path[path]) for path in sections if path in not_text]
    left_out = {change.path for change in changes if change.path in lost or not _is_told(change, trees)}
    return _Patch(
        whole=b"".join([*(section for path, section in sections.items() if path not in not_text), *last]),
        sections=sections,
        renames={record.path: record.old_path for record in records if record.old_path is not None},
        left_out=sorted(left_out if binary else left_out | not_text),
    )


def _mention(change: Change) -> bytes:
    """A line for a change that is not text: `git apply` takes no notice of it."""
    sizes = [b"%d" % side.size if side is not None else b"none" for side in (change.old, change.new)]
    return b'# binary: "%b", %b, bytes: %b -> %b\n' % (quoted(change.path), _status(change).encode(), *sizes)


def _stand_ins(changes: Sequence[Change]) -> dict[bytes, bytes]:
    """Content to take for that of files which are as they were, but for their mode or the folder they are in."""
    token = secrets.token_hex(16).encode()  # so that no real content looks like it
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
    """Old paths by new ones, of what moved with a folder."""
    return {
        new: old
        for old_paths, new_paths in _moved_inodes(changes).values()
        for old, new in zip(old_paths, new_paths, strict=True)
    }


def _within_limits(changes: Sequence[Change], stand_ins: Mapping[bytes, bytes]) -> dict[View, dict[bytes, Side]]:
    """The sides that git is shown, as far as the limits go."""
    sides: dict[View, dict[bytes, Side]] = {"baseline": {}, "merged": {}}
    left, files_left = LARGEST_PATCH, MOST_FILES
    for change in changes:
        both: list[tuple[View, Side | None]] = [("baseline", change.old), ("merged", change.new)]
        shown = [(view, side) for view, side in both if side is not None and is_carried(change.path, side.kind)]
        sizes = [0] if change.path in stand_ins else [side.size for _, side in shown]
        if max(sizes, default=0) <= LARGEST_FILE and sum(sizes) <= left and len(shown) <= files_left:
            left -= sum(sizes)
            files_left -= len(shown)
            for view, side in shown:
                sides[view][change.path] = side
    return sides


def _blobs(
    tree: GuestTree, view: View, sides: Mapping[bytes, Side], stand_ins: Mapping[bytes, bytes]
) -> dict[bytes, Blob]:
    """What git is shown of one view; a path that is not what it was a moment ago is left out."""
    wanted = [path for path in sides if path not in stand_ins]
    found = tree.contents(wanted, LARGEST_FILE + 1, view=view, skip_missing=True)
    blobs = {}
    for path, side in sides.items():
        data = stand_ins.get(path)
        if data is None and path in found:
            entry, content = found[path]
            data = entry.target if entry.kind == "l" else content
            if entry.kind != side.kind or len(data) > LARGEST_FILE:
                continue
        if data is not None:
            blobs[path] = Blob(git_mode(side.kind, side.mode), data)
    return blobs


def _compare(trees: Mapping[View, Mapping[bytes, Blob]], options: Sequence[str]) -> tuple[list[GitChange], bytes]:
    """Git's records and patch from one tree to the other."""
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


def _mispaired(record: GitChange, stand_ins: Mapping[bytes, bytes], new_folders: set[bytes]) -> bool:
    """Whether git shows a content that is only a stand-in, or moves away what is a folder now.

    `git apply` does not see that a link which is moved away is out of the way.
    """
    shown = record.old_id != record.new_id and not stand_ins.keys().isdisjoint({record.path, record.old_path})
    return shown or record.old_path in new_folders


def _sections(records: Sequence[GitChange], whole: bytes) -> dict[bytes, bytes]:
    """The part of the patch for each record; a change of type has two: it is deleted, then made."""
    pieces = iter(_SECTION.split(whole)[1:] if whole else ())
    return {
        record.path: b"".join(_well_named(next(pieces), record) for _ in range(2 if record.status == "T" else 1))
        for record in records
    }


def _well_named(section: bytes, record: GitChange) -> bytes:
    """The section with quotes in its first line where git, reading it again, could not tell one name from the other."""
    old, new = record.old_path or record.path, record.path
    if b" " not in old + new:
        return section
    return b'diff --git "a/%b" "b/%b"\n' % (quoted(old), quoted(new)) + section.partition(b"\n")[2]


def _is_told(change: Change, trees: Mapping[View, Mapping[bytes, Blob]]) -> bool:
    """Whether the patch says all of a change that git has words for; it has none for folders."""
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
        mere_folder = has_content and _is_folder(change)
        if change.path not in moved_away and change.path not in ignored and not mere_folder:
            yield _entry(change, renames.get(change.path), found.sections.get(change.path))


def _is_folder(change: Change) -> bool:
    """Whether a folder was made or removed."""
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
