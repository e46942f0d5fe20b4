"""The files that a project gets: instructions, skills, settings with hooks, and a dev container.

What the project has already is not touched unless that is wanted: our version is then put beside it, below
`.moot/suggested-*`. A file that is the same as ours is no conflict.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from moot.config import MOOT_DIR, main_worktree
from pyro_mcp.errors import Conflict, NotFound

TEMPLATES_DIR = Path(str(files("moot"))) / "templates"
_WORKTREES = ".worktrees/"
GITIGNORE_ENTRIES = (f"{MOOT_DIR}/", ".agents.json", ".env.local", _WORKTREES)
_EXECUTABLE, _PLAIN = 0o755, 0o644


@dataclass(frozen=True)
class Bundle:
    """Files that are installed together, by their path in the project. `whole` folders hold nothing else."""

    kind: str
    name: str
    content: Mapping[str, bytes]
    target: str
    staged_at: str
    whole: bool = False


@dataclass(frozen=True)
class Installed:
    """What became of a bundle: `installed`, `unchanged`, or `staged` because the project has its own."""

    kind: str
    name: str
    outcome: str
    path: str
    count: int


def bundles(instructions: str, templates: Path = TEMPLATES_DIR) -> list[Bundle]:
    """Return what a project gets; `instructions` is its `CLAUDE.md`."""
    found = []
    for folder in sorted(path.parent for path in (templates / "skills").glob("*/SKILL.md")):
        target = f".claude/skills/{folder.name}"
        staged = f"{MOOT_DIR}/suggested-skills/{folder.name}"
        found.append(Bundle("skill", folder.name, _below(folder, target), target, staged, whole=True))
    content = {"CLAUDE.md": instructions.encode()}
    found.append(Bundle("instructions", "CLAUDE.md", content, "CLAUDE.md", f"{MOOT_DIR}/suggested-CLAUDE.md"))
    if settings := _below(templates / "claude", ".claude"):
        staged = f"{MOOT_DIR}/suggested-claude"
        found.append(Bundle("settings", ".claude/settings.json", settings, ".claude", staged))
    if container := _below(templates / "devcontainer", ".devcontainer"):
        staged = f"{MOOT_DIR}/suggested-devcontainer"
        found.append(Bundle("devcontainer", ".devcontainer/", container, ".devcontainer", staged, whole=True))
    return found


def install(project: Path, bundle: Bundle, *, overwrite: bool) -> Installed:
    """Put a bundle into a project, or beside what the project has. Raises `Conflict` for links that lead out of it."""
    conflict = _conflicts(project, bundle)
    same = not conflict and all((project / name).is_file() for name in bundle.content)
    if conflict and not overwrite:
        _stage(project, bundle)
        return Installed(bundle.kind, bundle.name, "staged", bundle.staged_at, len(bundle.content))
    if not same:
        for name, content in bundle.content.items():
            _put(project, project / name, content)
    outcome = "unchanged" if same else "installed"
    return Installed(bundle.kind, bundle.name, outcome, bundle.target, len(bundle.content))


def update_gitignore(project: Path) -> int:
    """Add our entries to `.gitignore`, each unless a line has it; return how many were added.

    The worktrees of a project in a folder of its repository are at the top of the repository, so its entry is there.
    """
    try:
        top = main_worktree(project)
    except NotFound:
        top = project
    if top == project.resolve() or top == project:
        return _ignore(project, GITIGNORE_ENTRIES)
    return _ignore(project, GITIGNORE_ENTRIES[:-1]) + _ignore(top, (_WORKTREES,))


def _ignore(folder: Path, entries: Sequence[str]) -> int:
    path = folder / ".gitignore"
    old = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    lines = {line.strip() for line in old.splitlines()}
    missing = [entry for entry in entries if not lines & _spellings(entry)]
    if missing:
        start = old if not old or old.endswith("\n") else f"{old}\n"
        text = f"{start}# moot\n" + "".join(f"{entry}\n" for entry in missing)
        _put(folder, path, text.encode("utf-8", "surrogateescape"))
    return len(missing)


def _spellings(entry: str) -> set[str]:
    plain = entry.rstrip("/")
    return {plain, f"{plain}/", f"/{plain}", f"/{plain}/"} if entry.endswith("/") else {plain, f"/{plain}"}


def _below(folder: Path, target: str) -> dict[str, bytes]:
    """Return the files below a folder of templates, by their path below `target`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{target}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}


def _conflicts(project: Path, bundle: Bundle) -> bool:
    """Return whether the project has files of its own where the bundle belongs."""
    for name, content in bundle.content.items():
        path = project / name
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file() or path.read_bytes() != content):
            return True
    target = project / bundle.target
    if not bundle.whole or not os.path.lexists(target):
        return target.is_symlink()
    if target.is_symlink() or not target.is_dir():
        return True
    found = (path.relative_to(project).as_posix() for path in target.rglob("*") if not path.is_dir())
    return any(name not in bundle.content for name in found)


def _stage(project: Path, bundle: Bundle) -> None:
    staged = project / bundle.staged_at
    if staged.is_dir() and not staged.is_symlink():
        shutil.rmtree(staged)
    for name, content in bundle.content.items():
        inner = Path(name).relative_to(bundle.target)  # "." when the bundle is one file
        _put(project, staged / inner, content)


def _put(project: Path, path: Path, content: bytes) -> None:
    """Write a file of a project; a reader sees all of it or nothing."""
    inside = project.resolve()
    parent = path.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir() or not parent.resolve().is_relative_to(inside):
        raise Conflict(f"{parent} is not a folder of the project", hint="replace that link or file by a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        raise Conflict(f"{path} is a folder where a file belongs", hint="move it away, then try again")
    scratch = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        scratch.write_bytes(content)
        scratch.chmod(_EXECUTABLE if path.suffix == ".sh" else _PLAIN)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
