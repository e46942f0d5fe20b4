"""Where the files of a project are: in its main worktree, from whichever worktree it is asked."""

from __future__ import annotations

import os
from pathlib import Path

from pyro_mcp.errors import HostToolMissing
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
        found = _worktree_top(start) or start.absolute()
    return in_main_worktree(found)


def moot_folder(start: Path | None = None) -> Path:
    """Return the `.moot` folder of the project; it may not exist."""
    return project_folder(start) / MOOT_DIR


def in_main_worktree(folder: Path) -> Path:
    """Return the folder of the main worktree that corresponds to a folder of any worktree."""
    folder = folder.resolve()
    top = _worktree_top(folder)
    if top is None:
        return folder
    main = _main_worktree(top)
    return folder if main is None else main / folder.relative_to(top)


def _nearest(start: Path, names: tuple[str, ...]) -> Path | None:
    """Return the nearest folder from `start` upwards, without the root, that has one of these files."""
    folder = start.absolute()
    for one in (folder, *folder.parents):
        if one.parent != one and any(os.path.lexists(one / name) for name in names):
            return one
    return None


def _worktree_top(folder: Path) -> Path | None:
    """Return the top of the linked worktree or submodule that a folder is in: there `.git` is a file."""
    folder = folder.resolve()
    for one in (folder, *folder.parents):
        if (one / ".git").is_dir():
            return None
        if (one / ".git").is_file():
            return one
    return None


def _main_worktree(top: Path) -> Path | None:
    """Return the main worktree of a linked one; None for a submodule, a bare repository, or without git."""
    argv = ["git", "-C", str(top), "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir"]
    try:
        done = run(argv, deadline_seconds=_GIT_SECONDS, check=False)
    except HostToolMissing:
        return None
    lines = os.fsdecode(done.stdout).splitlines()
    if done.exit_code != 0 or len(lines) != 2 or lines[0] == lines[1]:
        return None
    common = Path(lines[1])
    return common.parent if common.name == ".git" and common.is_dir() else None
