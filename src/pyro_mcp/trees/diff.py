"""What a workspace's tree has become since its baseline: entries, counts, and one patch in git's format."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pyro_mcp.results import ChangeStatus, Diff, DiffEntry, DiffSummary
from pyro_mcp.trees.files import ARTIFACT_TYPES
from pyro_mcp.trees.git import Blob, Record, bare_repository, git_mode, is_carried, is_git_internal, raw_records
from pyro_mcp.trees.stream import Change, Side
from pyro_mcp.trees.tree import Tree, View

LARGEST_FILE = 2 * 1024 * 1024
"""Bytes of a file above which the patch leaves it out."""
LARGEST_PATCH = 64 * 1024 * 1024
"""Bytes of all files that one patch looks at; what is beyond is left out too."""
_DIFF = ("diff-tree", "-r", "-z", "--raw", "-p", "--binary", "--full-index", "-M", "--no-ext-diff", "--no-textconv")
_SECTION = re.compile(rb"^diff --git ", re.MULTILINE)


def diff(tree: Tree, *, patch: bool = True) -> Diff:
    """What differs from the baseline; the patch applies to the seed with `git apply` and yields the tree.

    Git knows files, whether they are executable, and links. Empty folders, other modes and special files are told of
    by the entries alone. Folders are entries only where nothing in them is. Without `patch` nothing is read, and only
    moves of whole folders count as renames.
    """
    changes = tree.changes()
    outside = [change for change in changes if not is_git_internal(change.path)]
    found = _Patch() if not patch else _patch(tree, outside)
    renames = found.renames if patch else _moves(outside)
    entries = list(_entries(outside, renames, found.sections))
    counts = Counter(entry["status"] for entry in entries)
    with_text = sum(entry["text_patch"] is not None for entry in entries)
    summary: DiffSummary = {
        "total": len(entries),
        "added": counts["added"],
        "modified": counts["modified"],
        "deleted": counts["deleted"],
        "type_changed": counts["type_changed"],
        "renamed": counts["renamed"],
        "text_patched": with_text,
        "non_text": len(entries) - with_text,
    }
    return {
        "changed": bool(changes),
        "summary": summary,
        "entries": entries,
        "git_changes": len(changes) - len(outside),
        "patch": _text(found.whole),
        "patch_complete": not found.left_out,
        "left_out": [os.fsdecode(path) for path in found.left_out],
    }


@dataclass(frozen=True)
class _Patch:
    """Git's answer: the patch, its sections by path, where renamed files were, and what is not in it."""

    whole: bytes = b""
    sections: Mapping[bytes, bytes] = {}  # noqa: RUF009
    renames: Mapping[bytes, bytes] = {}  # noqa: RUF009
    left_out: Sequence[bytes] = ()


def _patch(tree: Tree, changes: Sequence[Change]) -> _Patch:
    left_out = [change.path for change in changes if not _fits(change)]
    carried = _within_limits([change for change in changes if _fits(change)], left_out)
    if not carried:
        return _Patch(left_out=left_out)
    known = _known_contents(carried)
    records, whole = _compare(tree, carried, known)
    if any(record.status != "R" and _is_stand_in(record, known) for record in records):
        records, whole = _compare(tree, carried, {})
    sections = _sections(records, whole)
    renames = {record.path: record.old_path for record in records if record.old_path is not None}
    return _Patch(whole, sections, renames, left_out)
