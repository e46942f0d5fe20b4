"""The check that the `.moot` folder of a project was made by this user's `moot`, and did not come with the repository.

What is in it decides which messages an agent gets and where settings are written, so a repository must not bring it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from moot.config.places import MOOT_DIR, tracked_files
from pyro_mcp.errors import Conflict, own_errors

_PLACES = ("", "run", "run/*", "logs")
"""The folders of `.moot` in which `moot` writes files; `*` stands for each role."""


def require_own_moot_folder(project: Path) -> None:
    """Raise `Conflict` when git tracks a file of `.moot`, or when a link is where `moot` makes files and folders."""
    tracked = tracked_files(project, MOOT_DIR)
    if tracked:
        raise Conflict(
            f"git tracks {tracked[0]}, but only 'moot' may write files there",
            hint=f"if you committed it yourself: git rm -r --cached {MOOT_DIR}\n"
            f"if somebody else did, remove the files too: git rm -r {MOOT_DIR}",
        )
    with own_errors():
        require_no_link(project / MOOT_DIR)
        for place in _PLACES:
            for folder in (project / MOOT_DIR).glob(place) if place else [project / MOOT_DIR]:
                for name in os.listdir(folder) if folder.is_dir() else ():
                    require_no_link(folder / name)


def require_no_link(path: Path) -> None:
    """Raise `Conflict` when a path is a symbolic link; one that does not exist is none."""
    try:
        is_link = stat.S_ISLNK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if is_link:
        raise Conflict(
            f"{path} is a symbolic link to {os.readlink(path)}",
            hint=f"'moot' makes no links there; remove it: rm {path}",
        )
