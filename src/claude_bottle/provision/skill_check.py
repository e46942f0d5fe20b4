"""The check of a skill's content, before a launch copies it into a bottle."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from claude_bottle.provision.skills import host_skill_dir
from pyro_mcp.errors import InvalidRequest, NotFound

MOST_BYTES = 32 * 1024 * 1024
MOST_FILES = 2000
_DEEPEST = 32
_DESCRIPTION = "SKILL.md"
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@dataclass(frozen=True)
class SkillFolder:
    """A skill of this host: its name, its folder, and how many files with how many bytes it has."""

    name: str
    folder: str
    files: int
    size_bytes: int


def check_skills(skills: Sequence[str], host_skill_dir: Callable[[str], str] = host_skill_dir) -> Sequence[SkillFolder]:
    """Check the skills, and return the folder and the size of each.

    Raises `NotFound` for a skill that is not on this host, and `InvalidRequest` for one without SKILL.md, with a link
    out of its folder, a pipe, socket or device, more than `MOST_FILES` files or more than `MOST_BYTES` bytes.
    """
    return [_checked(skill, host_skill_dir(skill)) for skill in skills]


def _checked(skill: str, folder: str) -> SkillFolder:
    root = os.path.realpath(folder)
    if not os.path.isdir(root):
        raise NotFound(
            f"the skill {skill} is not on this host: there is no folder {folder}",
            hint="put it there, name another folder of skills with CLAUDE_BOTTLE_SKILLS_DIR, or remove it from the "
            "agent's skills",
        )
    _check_inside(skill, os.path.realpath(os.path.dirname(folder)), root, "")
    if not os.path.isfile(os.path.join(root, _DESCRIPTION)):
        raise InvalidRequest(
            f"{folder} is not a skill: it has no {_DESCRIPTION}", hint="add the file that describes it"
        )
    files = size = 0
    for path, entry in _entries(skill, root):
        found = entry.stat(follow_symlinks=False)
        _check_kind(skill, root, path, found.st_mode)
        files, size = files + 1, size + (found.st_size if stat.S_ISREG(found.st_mode) else 0)
        if files > MOST_FILES or size > MOST_BYTES:
            raise InvalidRequest(
                f"the skill {skill} is too large: more than {MOST_FILES} files or {MOST_BYTES // 1024 // 1024} MiB",
                hint=f"remove from {folder} what its instructions do not need; data belongs into the tree",
            )
    return SkillFolder(skill, folder, files, size)


def _entries(skill: str, root: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield everything below `root` with its path; links are not followed."""
    folders = [(root, 0)]
    while folders:
        folder, depth = folders.pop()
        if depth > _DEEPEST:
            raise InvalidRequest(
                f"the skill {skill} has folders that are nested deeper than {_DEEPEST}",
                hint="move the files of the innermost folders up",
            )
        with os.scandir(folder) as found:
            for entry in found:
                yield entry.path, entry
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, depth + 1))


def _check_kind(skill: str, root: str, path: str, mode: int) -> None:
    """Raise `InvalidRequest` for a link that leads out of the skill, and for what is no file, folder or link."""
    shown = os.path.relpath(path, root)
    if stat.S_ISLNK(mode):
        _check_inside(skill, root, os.path.realpath(path), shown)
    elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = _KINDS.get(stat.S_IFMT(mode), "a special file")
        raise InvalidRequest(f"the skill {skill} has {kind}: {shown}", hint="remove it")


def _check_inside(skill: str, root: str, target: str, shown: str) -> None:
    """Raise `InvalidRequest` unless `target`, which a link leads to, is `root` or below it."""
    if os.path.commonpath([root, target]) != root:
        what = f"has a link out of its folder: {shown}" if shown else "is a link out of the folder of skills: it"
        raise InvalidRequest(
            f"the skill {skill} {what} leads to {target}", hint="replace the link by a copy of what it leads to"
        )
