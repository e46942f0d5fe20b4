"""Where the files of a project are: in its main worktree, from whichever worktree it is asked."""

from __future__ import annotations

import os
from pathlib import Path

from pyro_mcp.errors import HostToolMissing, NotFound
from pyro_mcp.host.process import run

MOOT_TOML = "moot.toml"
MOOT_DIR = ".moot"
_GIT_SECONDS = 20.0


def find_moot_toml(start: Path | None = None) -> Path | None:
    """Return the `moot.toml` of the project that the folder `start` (the current one) is in; None without one.

    In a linked worktree it is the file of the main worktree, if there is one.
    """
    found = _nearest(start or Path.cwd(), (MOOT_TOML,))
    if found is None:
        return None
    in_main = in_main_worktree(found) / MOOT_TOML
    return in_main if in_main.is_file() else found / MOOT_TOML


def project_folder(start: Path | None = None) -> Path:
    """Return the project's folder in its main worktree: where `moot.toml` is, else `.moot`, else the current folder."""
    start = start or Path.cwd()
    found = _nearest(start, (MOOT_TOML,)) or _nearest(start, (f"{MOOT_DIR}/actors.json",))
    if found is None:
        top = _worktree_of(start.resolve())
        found = top if top is not None and (top / ".git").is_file() else start.absolute()
    return in_main_worktree(found)


def moot_folder(start: Path | None = None) -> Path:
    """Return the `.moot` folder of the project; it may not exist."""
    return project_folder(start) / MOOT_DIR


def in_main_worktree(folder: Path) -> Path:
    """Return the folder of the main worktree that corresponds to a folder of any worktree."""
    folder = folder.resolve()
    top = _worktree_of(folder)
    return folder if top is None else _main_of(top) / folder.relative_to(top)


def main_worktree(folder: Path) -> Path:
    """Return the main worktree of the repository that `folder` is in, also from one of its other worktrees.

    Raises `NotFound` when `folder` is in no repository.
    """
    top = _worktree_of(folder.resolve())
    if top is None:
        raise NotFound(f"{folder} is not in a git repository", hint="run 'git init' there, and commit something")
    return _main_of(top)


def tracked_files(project: Path, below: str) -> list[str]:
    """Return the files of a folder of the project that git tracks; none without git."""
    return _git(project, "ls-files", "--", below)


def _nearest(start: Path, names: tuple[str, ...]) -> Path | None:
    """Return the nearest folder from `start` upwards, without the root, that has one of these files."""
    folder = start.absolute()
    for one in (folder, *folder.parents):
        if one.parent != one and any(os.path.lexists(one / name) for name in names):
            return one
    return None


def _worktree_of(folder: Path) -> Path | None:
    """Return the worktree of git that a folder is in."""
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)


def _main_of(top: Path) -> Path:
    """Return the main worktree of a linked one; `top` itself for any other, for one of a bare repository, without git.

    The `.git` of a linked worktree is a file; that of a submodule too, whose main worktree only its settings name.
    """
    if (top / ".git").is_dir():
        return top
    folders = _git(top, "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
    if len(folders) != 2 or folders[0] == folders[1]:
        return top
    common = Path(folders[1])
    if common.name == ".git":
        return common.parent if common.is_dir() else top
    named = _git(top, f"--git-dir={common}", "config", "core.worktree")
    return (common / named[0]).resolve() if named else top


def _git(folder: Path, *words: str) -> list[str]:
    """Return the lines that git prints; none when it fails or is not installed."""
    try:
        done = run(["git", "-C", str(folder), *words], deadline_seconds=_GIT_SECONDS, check=False)
    except HostToolMissing:
        return []
    return os.fsdecode(done.stdout).splitlines() if done.exit_code == 0 else []
