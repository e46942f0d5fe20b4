"""Patches on a workspace's tree: git fits the hunks on the host, the guest is given whole files, all or none."""

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

LARGEST_PATCH = 64 * 1024 * 1024
LARGEST_FILE = 32 * 1024 * 1024
"""Bytes of a file that can be patched."""
_DIFF = ("diff-index", "--cached", "--raw", "-z", "--no-abbrev", "-M")
_MODES = {b"000000", b"100644", b"100755", b"120000"}
_STATUS: Mapping[str, ChangeStatus] = {
    "A": "added", "M": "modified", "D": "deleted", "T": "type_changed", "R": "renamed",
}  # fmt: skip
_MISFIT = re.compile(r"error: patch failed: (.*):(\d+)")
_REFUSED = re.compile(r"error: (.*?)(?: in (?:index|working directory))?$", re.MULTILINE)


def apply_patch(tree: GuestTree, patch: str | bytes) -> Patch:
    """Apply a unified diff, all of it or nothing: files added, modified, deleted, renamed, their x bit, links.

    Paths may have the prefixes a/ and b/ or none. Folders that are left without content go, as with `git apply`.
    Raises `InvalidRequest` that names the file and hunk which does not fit, with the nearest lines as they are.
    """
    try:
        given = os.fsencode(patch)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the patch is not text: {error.reason}") from error
    if not given.strip():
        raise InvalidRequest("the patch is empty")
    if len(given) > LARGEST_PATCH:
        raise InvalidRequest(f"the patch has {len(given)} bytes, more than {LARGEST_PATCH}")
    sections = patch_text.parse(given)
    if not sections:
        raise InvalidRequest(
            "the patch changes no file", hint="give a unified diff, as 'git diff' and 'diff -u' print it"
        )
    _check_names(sections)
    with bare_repository() as repository:
        outcome, present = _fitted(tree, repository, sections)
        edits = [*_deletions(tree, outcome, present), *_puts(repository, outcome, present)]
    if edits:
        tree.apply(edits)
    counts = Counter(_STATUS[record.status] for record in outcome)
    return {
        "changed": bool(outcome),
        "summary": {
            "total": len(outcome),
            "added": counts["added"],
            "modified": counts["modified"],
            "deleted": counts["deleted"],
            "type_changed": counts["type_changed"],
            "renamed": counts["renamed"],
        },
        "entries": [
            {
                "path": os.fsdecode(record.path),
                "old_path": os.fsdecode(record.old_path) if record.old_path is not None else None,
                "status": _STATUS[record.status],
            }
            for record in outcome
        ],
    }


CurrentFiles = Mapping[bytes, tuple[TreeEntry, bytes]]


def _check_names(sections: Sequence[Section]) -> None:
    """Refuse paths that leave /workspace or enter a .git, however their prefixes are read."""
    for path in sorted({path for section in sections for strip in (0, 1) for path in section.paths(strip)}):
        if not path or not is_path(path):
            raise InvalidRequest(f"the patch names {os.fsdecode(path)!r}, which does not stay in /workspace")
        if b".git" in path.lower().split(b"/"):
            raise InvalidRequest(f"the patch names {os.fsdecode(path)}: patches cannot reach into a .git folder")


def _fitted(
    tree: GuestTree, repository: Repository, sections: Sequence[Section]
) -> tuple[list[GitChange], CurrentFiles]:
    """What the patch changes, and what is there now; the new contents are then in the repository."""
    refusals: list[InvalidRequest] = []
    for strip in patch_text.prefix_depths(sections):
        present = _present(tree, {path for section in sections for path in section.paths(strip)})
        # The less likely reading must name something that is there: else it would make new files in odd places.
        if refusals and not present:
            break
        try:
            return _attempt(repository, sections, present, strip), present
        except HostCommandFailed as error:
            refusals.append(_refusal(error, sections, present, strip))
    raise refusals[0]


def _present(tree: GuestTree, paths: Collection[bytes]) -> CurrentFiles:
    """What is now at each of the paths; below a path that is named itself, only if that is a folder."""
    found: dict[bytes, tuple[TreeEntry, bytes]] = {}
    named_above = {path: [folder for folder in folders_above(path) if folder in paths] for path in paths}
    for count in sorted({len(folders) for folders in named_above.values()}):
        asked = [
            path
            for path, folders in named_above.items()
            if len(folders) == count and all(one in found and found[one][0].kind == "d" for one in folders)
        ]
        found |= tree.contents(sorted(asked), LARGEST_FILE, skip_missing=True)
    for path, (entry, _) in found.items():
        if entry.size > LARGEST_FILE:
            raise InvalidRequest(f"{guest_path(path)} has {entry.size} bytes; patches are for up to {LARGEST_FILE}")
    return {path: (entry, entry.target if entry.kind == "l" else data) for path, (entry, data) in found.items()}


def _attempt(repository: Repository, sections: Sequence[Section], present: CurrentFiles, strip: int) -> list[GitChange]:
    """What git makes of the patch when so many leading folders are prefixes."""

    def content_of(section: Section) -> bytes | None:
        return next((present[path][1] for path in sorted(section.paths(strip)) if path in present), None)

    now = f"now-{strip}"
    blobs = {
        path: Blob(git_mode(entry.kind, entry.mode), data)
        for path, (entry, data) in present.items()
        if entry.kind in "fl"
    }
    text = patch_text.rebuild(sections, content_of)
    repository.import_trees({now: blobs})
    repository.git("read-tree", f"refs/heads/{now}")
    repository.git("apply", "--cached", "--whitespace=nowarn", f"-p{strip}", stdin=text)
    records, _ = parse_raw_changes(repository.git(*_DIFF, f"refs/heads/{now}"))
    _check(records, text, present)
    return records


def _check(records: Sequence[GitChange], text: bytes, present: CurrentFiles) -> None:
    """Refuse what git would do without a word but nobody can mean."""
    for record in records:
        name = guest_path(record.path)
        if record.new_mode not in _MODES:
            raise InvalidRequest(f"the patch makes {name} a submodule, which is no file")
        if record.status == "M" and record.new_mode == b"120000" and b" 120000" not in text:
            raise InvalidRequest(f"{name} is a link; the patch is for a file", hint="patch the file that it leads to")
        if record.path in present and present[record.path][0].kind not in "fld":
            raise InvalidRequest(f"{name} is {NOUNS[present[record.path][0].kind]}, not a file")


def _deletions(tree: GuestTree, records: Sequence[GitChange], present: CurrentFiles) -> list[Edit]:
    """First of all, what goes: files, what changes its type, and folders that nothing else is in."""
    gone = {record.path for record in records if record.status in "DT"}
    gone |= {record.old_path for record in records if record.old_path is not None}
    made = {record.path for record in records if record.status != "D"}
    gone |= _emptied(tree, gone, {folder for path in made for folder in folders_above(path)})
    for path in made - gone:
        if path in present and present[path][0].kind == "d":
            raise InvalidRequest(f"{guest_path(path)} is a folder; the patch is for a file")
    return [Edit(path, "x") for path in sorted(gone, reverse=True)]


def _emptied(tree: GuestTree, gone: set[bytes], kept: set[bytes]) -> set[bytes]:
    """The folders that have no content when `gone` is gone."""
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


def _puts(repository: Repository, records: Sequence[GitChange], present: CurrentFiles) -> Iterator[Edit]:
    made = [record for record in records if record.status != "D"]
    for record, data in zip(made, repository.blobs([record.new_id for record in made]), strict=True):
        if record.new_mode != b"120000":
            yield Edit(record.path, "f", mode=_mode(record, present), size=len(data), content=[data])
        elif not data or b"\0" in data:
            raise InvalidRequest(f"the patch makes {guest_path(record.path)} a link to nothing that could be a path")
        else:
            yield Edit(record.path, "l", target=data)


def _mode(record: GitChange, present: CurrentFiles) -> int | None:
    """The mode for a file that is put: the present one, executable or not as git says."""
    executable = record.new_mode == b"100755"
    if record.status == "M" and record.old_mode == record.new_mode:
        return None
    if record.status not in "MR":
        return 0o755 if executable else 0o644
    mode = present[record.old_path or record.path][0].mode
    return mode | (mode & 0o444) >> 2 if executable else mode & ~0o111


def _refusal(
    error: HostCommandFailed, sections: Sequence[Section], present: CurrentFiles, strip: int
) -> InvalidRequest:
    """Git's complaint in our words, with what a person needs to mend the patch."""
    if (misfit := _MISFIT.search(error.message)) is None:
        said = _REFUSED.search(error.message)
        return InvalidRequest(f"the patch cannot be applied: {said[1] if said else error.message}")
    name, start = misfit[1], int(misfit[2])
    for section in sections:
        for path in section.paths(strip):
            if path.decode(errors="replace") == name and path in present:
                for hunk in section.hunks():
                    if hunk.start == start:
                        return _misfit(path, hunk, present[path][1])
    return InvalidRequest(f"the patch does not fit {name} at line {start}")


def _misfit(path: bytes, hunk: Hunk, content: bytes) -> InvalidRequest:
    head = hunk.head.decode(errors="replace").strip()
    lines = patch_text.nearest(hunk, content)
    return InvalidRequest(
        f"the patch does not fit {guest_path(path)} at its hunk {head}",
        hint=f"the nearest lines there are:\n{lines}" if lines else "the file is empty",
    )
