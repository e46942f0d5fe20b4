"""The check of pushed files: settings, links and folders that could make the git of whoever fetches them run programs.

The rules apply to everything that new commits add or change, not only to the last commit. What the upstream has already
is not checked. A fault refuses the push; a remark is for the person who decides.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from claude_bottle.gate.quarantine import Change, Quarantine
from claude_bottle.gate.remotes import Remote, same_place
from pyro_mcp.errors import HostCommandFailed
from pyro_mcp.trees import program_that_runs
from pyro_mcp.visible import visible_line

_LINK, _SUBMODULE = "120000", "160000"
_MOST_REMARKS, _MOST_PATHS = 60, 3
_RUN_BY = "is run by"
_LONGEST_TARGET = 4096  # path_max on Linux
_LONGEST_SETTINGS = 256 * 1024
# gitattributes(5): attributes by which a file chooses a driver, which is a program where one is configured. Only these
# characters separate attributes for git, and none needs to follow a quoted pattern.
_BLANK = b" \t\r"
_DRIVER = re.compile(rb'(?:^|[ \t\r"])(filter|diff|merge)=([^ \t\r]+)')
_BUILT_IN = {"merge": {"text", "binary", "union"}, "filter": set[str](), "diff": set[str]()}
# What makes git take a folder as a repository, with settings and hooks of its own: gitrepository-layout(5).
_REPOSITORY = (b"head", b"objects", b"refs")
_Tree = list[tuple[bytes, str]]
"""All paths of a commit, each with its mode."""


@dataclass
class Findings:
    """The faults of a push, and remarks for the person who decides; each is a line of visible text."""

    faults: list[str] = field(default_factory=list)
    _paths: dict[str, list[bytes]] = field(default_factory=dict)  # by the remark

    def fault(self, text: str, path: bytes) -> None:
        self.faults.append(f"{visible_line(os.fsdecode(path), 200)}: {text}")

    def remark(self, text: str, path: bytes) -> None:
        self._paths.setdefault(text, []).append(path)

    @property
    def remarks(self) -> list[str]:
        """One line for all paths with the same remark: a flood of one kind hides no other."""
        texts = sorted(self._paths, key=lambda text: not text.startswith(_RUN_BY))
        lines = [f"{_named(self._paths[text])}: {text}" for text in texts[:_MOST_REMARKS]]
        return [*lines, f"and {len(texts) - len(lines)} more notes"] if len(texts) > len(lines) else lines


def check_content(quarantine: Quarantine, remotes: Sequence[Remote]) -> Findings:
    """Return the findings in the trees of the new commits; addresses of `remotes` are allowed."""
    findings = Findings()
    targets = quarantine.read({one.id for one in quarantine.changes if one.mode == _LINK}, most=_LONGEST_TARGET)
    places = {same_place(one.url) for one in remotes}
    for change in quarantine.changes:
        quarantine.require_time()
        name = posixpath.basename(change.path).lower()
        if change.mode == _LINK:
            _check_link(targets.get(change.id), change, findings)
        elif change.mode == _SUBMODULE:
            findings.remark("a submodule, whose content is in another repository", change.path)
        elif name == b".gitmodules":
            _check_addresses(quarantine, change, findings, places, "submodule")
        elif name == b".lfsconfig":
            _check_addresses(quarantine, change, findings, places, "LFS")
        elif name == b".gitattributes":
            _check_attributes(quarantine, change, findings)
        if program := program_that_runs(change.path):
            findings.remark(f"{_RUN_BY} {program}", change.path)
    for path in quarantine.not_shown:
        findings.remark("its content is no text for git, and is not shown", path)
    trees = _trees(quarantine)
    _check_hidden_repositories(quarantine, trees, findings)
    _check_names(quarantine, trees, findings)
    return findings


def _named(paths: Sequence[bytes]) -> str:
    """Return the first of some paths, and how many there are."""
    different = list(dict.fromkeys(paths))
    shown = ", ".join(visible_line(os.fsdecode(path), 200) for path in different[:_MOST_PATHS])
    return f"{shown} and {len(different) - _MOST_PATHS} more" if len(different) > _MOST_PATHS else shown


def _check_link(target: bytes | None, change: Change, findings: Findings) -> None:
    if target is None:
        findings.fault("a symbolic link whose target is too long", change.path)
        return
    steps = [one for one in target.split(b"/") if one not in (b"", b".")]
    inside = posixpath.normpath(posixpath.join(posixpath.dirname(change.path), target))
    if target.startswith(b"/") or inside == b".." or inside.startswith(b"../"):
        findings.fault("a symbolic link that leads out of the tree", change.path)
    elif any(after == b".." != before for before, after in pairwise(steps)):  # `before` may be a link to elsewhere
        findings.fault("a symbolic link that leads up again after it led down", change.path)
    elif any(part.lower() in (b".git", b"git~1") for part in inside.split(b"/")):
        findings.fault("a symbolic link into .git", change.path)


def _check_addresses(
    quarantine: Quarantine, change: Change, findings: Findings, places: set[tuple[str, str]], what: str
) -> None:
    """Add a fault for each new address in a settings file that is not a declared remote."""
    content = quarantine.blob(change.id)
    if len(content) > _LONGEST_SETTINGS:
        findings.fault(f"it is larger than {_LONGEST_SETTINGS >> 10} KiB, too large to be checked", change.path)
        return
    try:
        settings = _settings(quarantine, content)
    except HostCommandFailed:
        findings.fault("git cannot read it", change.path)
        return
    known = _known_settings(quarantine, change)
    for name, value in settings:
        if (name, value) in known or not name.endswith(("url", ".update")):
            continue
        if name.endswith(".update") and value.startswith("!"):
            findings.fault("it names a program", change.path)
        elif name.endswith("url") and not _is_declared(value, places):
            shown = visible_line(value, 200)
            findings.fault(f"the {what} address {shown} is no remote that the manifest declares", change.path)


def _settings(quarantine: Quarantine, content: bytes) -> list[tuple[str, str]]:
    argv = ["config", "--file", "-", "--no-includes", "--null", "--list"]
    listed = quarantine.repository.git(*argv, stdin=content).decode(errors="surrogateescape")
    pairs = (line.partition("\n") for line in listed.split("\0") if line)
    return [(name, value) for name, _, value in pairs]


def _known_settings(quarantine: Quarantine, change: Change) -> set[tuple[str, str]]:
    """Return what the file has in the upstream, in the commits that the push begins at."""
    known: set[tuple[str, str]] = set()
    for update in quarantine.updates:
        if (id_ := _id_at_base(quarantine, quarantine.base_of(update), change.path)) is not None:
            known.update(_settings(quarantine, quarantine.blob(id_)))
    return known


def _is_declared(address: str, places: set[tuple[str, str]]) -> bool:
    try:
        return same_place(address) in places
    except ValueError:
        return False


def _check_attributes(quarantine: Quarantine, change: Change, findings: Findings) -> None:
    known: set[bytes] = set()
    for update in quarantine.updates:
        if (id_ := _id_at_base(quarantine, quarantine.base_of(update), change.path)) is not None:
            known.update(quarantine.blob(id_).split(b"\n"))
    for line in quarantine.blob(change.id).split(b"\n"):
        if line in known or line.lstrip(_BLANK).startswith(b"#"):
            continue
        for attribute, driver in (map(os.fsdecode, found) for found in _DRIVER.findall(line)):
            if driver in _BUILT_IN[attribute]:
                continue
            if attribute == "diff":
                findings.remark(f"chooses the diff driver {visible_line(driver, 60)}", change.path)
            else:
                findings.fault(f"chooses the {attribute} driver {visible_line(driver, 60)}", change.path)


def _check_hidden_repositories(quarantine: Quarantine, trees: Sequence[_Tree], findings: Findings) -> None:
    """Add a fault for each folder that git would take as a repository, at some new commit or at the end."""
    changed = _repository_parts(change.path for change in quarantine.changes)
    parts = [_repository_parts(path for path, _ in tree) for tree in trees]
    for folder, seen in changed.items():
        if seen.union(*(one.get(folder, ()) for one in parts)).issuperset(_REPOSITORY):
            findings.fault("a folder that git takes as a repository with settings of its own", folder or b".")


def _repository_parts(paths: Iterable[bytes]) -> dict[bytes, set[bytes]]:
    """Return what each folder has of a repository."""
    parts: dict[bytes, set[bytes]] = {}
    for path in paths:
        names = path.split(b"/")
        for depth, name in enumerate(names):
            if name.lower() in _REPOSITORY:
                parts.setdefault(b"/".join(names[:depth]), set()).add(name.lower())
    return parts


def _check_names(quarantine: Quarantine, trees: Sequence[_Tree], findings: Findings) -> None:
    """Add a fault for each link whose name is another path's where case does not count, which could redirect it.

    One of the two is new.
    """
    changed = {path for change in quarantine.changes for path in _with_folders(change.path)}
    links = {change.path for change in quarantine.changes if change.mode == _LINK}
    links |= {path for tree in trees for path, mode in tree if mode == _LINK}
    same: dict[str, set[bytes]] = {_folded(link): set() for link in links}
    for path in (*changed, *(path for tree in trees for path, _ in tree)):
        if same and (folded := _folded(path)) in same:
            same[folded].add(path)
    for link in sorted(links):
        paths = same[_folded(link)]
        if len(paths) > 1 and not paths.isdisjoint(changed):
            findings.fault("a symbolic link whose name differs from another path only in the case of its letters", link)


def _with_folders(path: bytes) -> Iterator[bytes]:
    """Yield a path and the folders that it is in."""
    while path:
        yield path
        path = posixpath.dirname(path)


def _folded(path: bytes) -> str:
    """Return what is the same for two paths that some file system takes for one."""
    if path.isascii():
        return path.decode().lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", os.fsdecode(path)).casefold())


def _trees(quarantine: Quarantine) -> list[_Tree]:
    """Return all paths of each pushed commit, also of folders."""
    found = []
    for update in quarantine.updates:
        listed = quarantine.repository.git("ls-tree", "-r", "-t", "-z", "--full-tree", f"{update.new}^{{tree}}")
        rows = (row.partition(b"\t") for row in listed.split(b"\0") if row)
        found.append([(path, head.partition(b" ")[0].decode()) for head, _, path in rows])
    return found


def _id_at_base(quarantine: Quarantine, base: str | None, path: bytes) -> str | None:
    """Return the object at a path of a commit, None when there is none."""
    if base is None:
        return None
    try:
        named = f"{base}:{os.fsdecode(path)}"
        return quarantine.repository.git("rev-parse", "--verify", "--quiet", "--end-of-options", named).decode().strip()
    except HostCommandFailed:
        return None
