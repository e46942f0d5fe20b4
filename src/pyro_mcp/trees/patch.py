"""Apply a patch to a workspace's tree: git applies the hunks on the host, and the guest gets all new files or none."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from pyro_mcp.errors import HostCommandFailed, InvalidRequest
from pyro_mcp.guest_protocol.tree_edits import Edit
from pyro_mcp.guest_protocol.tree_stream import TreeEntry, is_path
from pyro_mcp.results import ChangeStatus, Patch
from pyro_mcp.trees import patch_text
from pyro_mcp.trees.files import NOUNS
from pyro_mcp.trees.git import Blob, GitChange, Repository, bare_repository, git_mode, parse_raw_changes
from pyro_mcp.trees.guest_tree import GuestTree, folders_above, guest_path
from pyro_mcp.trees.patch_text import Hunk, Section

MAX_PATCH = 64 * 1024 * 1024
MAX_FILE = 32 * 1024 * 1024
"""Largest file, in bytes, that can be patched."""
_DIFF = ("diff-index", "--cached", "--raw", "-z", "--no-abbrev", "-M")
_MODES = {b"000000", b"100644", b"100755", b"120000"}
_STATUS: Mapping[str, ChangeStatus] = {
    "A": "added", "M": "modified", "D": "deleted", "T": "type_changed", "R": "renamed",
}  # fmt: skip
_HUNK_FAILED = re.compile(r"error: patch failed: (.*):(\d+)")
_GIT_ERROR = re.compile(r"error: (.*?)(?: in (?:index|working directory))?$", re.MULTILINE)


def apply_patch(tree: GuestTree, patch: str | bytes) -> Patch:
    """Apply a unified diff, all of it or nothing: it adds, modifies, deletes and renames files and links.

    It also sets the executable bit. Paths may have the prefixes a/ and b/ or none. Folders that become empty are
    removed, as with `git apply`. Raises `InvalidRequest` with the file and the hunk that does not apply, and the most
    similar lines of the file.
    """
    try:
        given = os.fsencode(patch)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the patch is not text: {error.reason}") from error
    if not given.strip():
        raise InvalidRequest("the patch is empty")
    if len(given) > MAX_PATCH:
        raise InvalidRequest(f"the patch has {len(given)} bytes, more than {MAX_PATCH}")
    sections = patch_text.parse(given)
    if not sections:
        raise InvalidRequest(
            "the patch changes no file", hint="give a unified diff, as 'git diff' and 'diff -u' print it"
        )
    _check_names(sections)
    with bare_repository() as repository:
        changes, current = _apply_in_git(tree, repository, sections)
        edits = [*_deletions(tree, changes, current), *_writes(repository, changes, current)]
    if edits:
        tree.apply(edits)
    counts = Counter(_STATUS[change.status] for change in changes)
    return {
        "changed": bool(changes),
        "summary": {
            "total": len(changes),
            "added": counts["added"],
            "modified": counts["modified"],
            "deleted": counts["deleted"],
            "type_changed": counts["type_changed"],
            "renamed": counts["renamed"],
        },
        "entries": [
            {
                "path": os.fsdecode(change.path),
                "old_path": os.fsdecode(change.old_path) if change.old_path is not None else None,
                "status": _STATUS[change.status],
            }
            for change in changes
        ],
    }


CurrentFiles = Mapping[bytes, tuple[TreeEntry, bytes]]


def _check_names(sections: Sequence[Section]) -> None:
    """Raise `InvalidRequest` for paths that leave /workspace or enter a .git, with their prefixes or without."""
    for path in sorted({path for section in sections for strip in (0, 1) for path in section.paths(strip)}):
        if not path or not is_path(path):
            raise InvalidRequest(f"the patch names {os.fsdecode(path)!r}, which is outside /workspace")
        if b".git" in path.lower().split(b"/"):
            raise InvalidRequest(f"the patch names {os.fsdecode(path)}: patches cannot change a .git folder")


def _apply_in_git(
    tree: GuestTree, repository: Repository, sections: Sequence[Section]
) -> tuple[list[GitChange], CurrentFiles]:
    """Apply the patch in the repository, which then has the new contents; return the changes and the current files."""
    errors: list[InvalidRequest] = []
    for strip in patch_text.prefix_depths(sections):
        current = _current_files(tree, {path for section in sections for path in section.paths(strip)})
        # The less likely prefix depth must name an existing file; otherwise it would add files at wrong paths.
        if errors and not current:
            break
        try:
            return _apply_stripped(repository, sections, current, strip), current
        except HostCommandFailed as error:
            errors.append(_explained(error, sections, current, strip))
    raise errors[0]


def _current_files(tree: GuestTree, paths: Collection[bytes]) -> CurrentFiles:
    """Return the current content of the paths; a path below another of them only if that one is a folder."""
    found: dict[bytes, tuple[TreeEntry, bytes]] = {}
    parents = {path: [folder for folder in folders_above(path) if folder in paths] for path in paths}
    for count in sorted({len(folders) for folders in parents.values()}):
        requested = [
            path
            for path, folders in parents.items()
            if len(folders) == count and all(one in found and found[one][0].kind == "d" for one in folders)
        ]
        found |= tree.contents(sorted(requested), MAX_FILE, skip_missing=True)
    for path, (entry, _) in found.items():
        if entry.size > MAX_FILE:
            raise InvalidRequest(f"{guest_path(path)} has {entry.size} bytes; the limit for patches is {MAX_FILE}")
    return {path: (entry, entry.target if entry.kind == "l" else data) for path, (entry, data) in found.items()}


def _apply_stripped(
    repository: Repository, sections: Sequence[Section], current: CurrentFiles, strip: int
) -> list[GitChange]:
    """Apply the patch with `strip` leading components removed from its names; return the changes."""

    def content_of(section: Section) -> bytes | None:
        return next((current[path][1] for path in sorted(section.paths(strip)) if path in current), None)

    branch = f"current-{strip}"
    blobs = {
        path: Blob(git_mode(entry.kind, entry.mode), data)
        for path, (entry, data) in current.items()
        if entry.kind in "fl"
    }
    text = patch_text.rebuild(sections, content_of)
    repository.import_trees({branch: blobs})
    repository.git("read-tree", f"refs/heads/{branch}")
    repository.git("apply", "--cached", "--whitespace=nowarn", f"-p{strip}", stdin=text)
    changes, _ = parse_raw_changes(repository.git(*_DIFF, f"refs/heads/{branch}"))
    _check(changes, text, current)
    return changes


def _check(changes: Sequence[GitChange], text: bytes, current: CurrentFiles) -> None:
    """Raise `InvalidRequest` for changes that git accepts but that cannot be intended."""
    for change in changes:
        name = guest_path(change.path)
        if change.new_mode not in _MODES:
            raise InvalidRequest(f"the patch makes {name} a submodule, not a file")
        if change.status == "M" and change.new_mode == b"120000" and b" 120000" not in text:
            raise InvalidRequest(f"{name} is a link; the patch is for a file", hint="patch the target of the link")
        if change.path in current and current[change.path][0].kind not in "fld":
            raise InvalidRequest(f"{name} is {NOUNS[current[change.path][0].kind]}, not a file")


def _deletions(tree: GuestTree, changes: Sequence[GitChange], current: CurrentFiles) -> list[Edit]:
    """Return the deletions, which come first: files, paths that change their type, and folders that become empty."""
    gone = {change.path for change in changes if change.status in "DT"}
    gone |= {change.old_path for change in changes if change.old_path is not None}
    made = {change.path for change in changes if change.status != "D"}
    gone |= _emptied(tree, gone, {folder for path in made for folder in folders_above(path)})
    for path in made - gone:
        if path in current and current[path][0].kind == "d":
            raise InvalidRequest(f"{guest_path(path)} is a folder; the patch is for a file")
    return [Edit(path, "x") for path in sorted(gone, reverse=True)]


def _emptied(tree: GuestTree, gone: set[bytes], kept: set[bytes]) -> set[bytes]:
    """Return the folders that are empty once the paths in `gone` are deleted."""
    folders = {folder for path in gone for folder in folders_above(path)} - kept
    entries = tree.entries(sorted(folders), depth=1, skip_missing=True)
    content: dict[bytes, set[bytes]] = {entry.path: set() for entry in entries if entry.kind == "d"}
    for entry in entries:
        content.get(posixpath.dirname(entry.path), set()).add(entry.path)
    emptied: set[bytes] = set()
    for folder in sorted(folders & content.keys(), reverse=True):
        if content[folder] <= gone | emptied:
            emptied.add(folder)
    return emptied


def _writes(repository: Repository, changes: Sequence[GitChange], current: CurrentFiles) -> Iterator[Edit]:
    made = [change for change in changes if change.status != "D"]
    for change, data in zip(made, repository.blobs([change.new_id for change in made]), strict=True):
        if change.new_mode != b"120000":
            yield Edit(change.path, "f", mode=_mode(change, current), size=len(data), content=[data])
        elif not data or b"\0" in data:
            raise InvalidRequest(f"the patch makes {guest_path(change.path)} a link whose target is not a path")
        else:
            yield Edit(change.path, "l", target=data)


def _mode(change: GitChange, current: CurrentFiles) -> int | None:
    """Return the mode of a written file: its current mode, with the executable bits that the patch sets."""
    executable = change.new_mode == b"100755"
    if change.status == "M" and change.old_mode == change.new_mode:
        return None
    if change.status not in "MR":
        return 0o755 if executable else 0o644
    mode = current[change.old_path or change.path][0].mode
    return mode | (mode & 0o444) >> 2 if executable else mode & ~0o111


def _explained(
    error: HostCommandFailed, sections: Sequence[Section], current: CurrentFiles, strip: int
) -> InvalidRequest:
    """Translate an error of git into one that helps to correct the patch."""
    if (failed := _HUNK_FAILED.search(error.message)) is None:
        complaint = _GIT_ERROR.search(error.message)
        return InvalidRequest(f"the patch cannot be applied: {complaint[1] if complaint else error.message}")
    name, start = failed[1], int(failed[2])
    for section in sections:
        for path in section.paths(strip):
            if path.decode(errors="replace") == name and path in current:
                for hunk in section.hunks():
                    if hunk.start == start:
                        return _hunk_error(path, hunk, current[path][1])
    return InvalidRequest(f"the patch does not apply to {name} at line {start}")


def _hunk_error(path: bytes, hunk: Hunk, content: bytes) -> InvalidRequest:
    head = hunk.head.decode(errors="replace").strip()
    lines = patch_text.nearest(hunk, content)
    return InvalidRequest(
        f"the patch does not apply to {guest_path(path)} at its hunk {head}",
        hint=f"the most similar lines are:\n{lines}" if lines else "the file is empty",
    )
