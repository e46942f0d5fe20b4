"""The files of a project that its agents need in their worktrees, where they are only after a commit and a merge."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from moot.agents.worktrees import FOLDER, Worktrees
from moot.config import main_worktree

_NEEDED = ("CLAUDE.md", ".claude/settings.json")


def missing_files(project: Path, role: str) -> list[str]:
    """Return the files that the project has and the worktree of a role lacks; none without such a worktree."""
    main = main_worktree(project)
    tree = main / FOLDER / role
    if not (tree / ".git").exists():
        return []
    below = tree / os.path.relpath(project.resolve(), main)
    return [name for name in _NEEDED if (project / name).is_file() and not os.path.lexists(below / name)]


def missing_text(project: Path, roles: Iterable[str]) -> tuple[str, str]:
    """Return what agents of these roles lack, and what to do, as lines for a person; "" and "" when all is there."""
    found = {role: missing for role in roles if (missing := missing_files(project, role))}
    if not found:
        return "", ""
    names = [name for name in _NEEDED if any(name in missing for missing in found.values())]
    main = main_worktree(project)
    branch = Worktrees(str(main)).listed()[0].branch or "COMMIT"
    merges = [f"git -C {shlex.quote(str(main / FOLDER / role))} merge {branch}" for role in found]
    commit = f"commit them: git add {' '.join(names)} && git commit"
    lost = "so the agent gets no instructions, skills or hooks of the project"
    return f"the worktree of {', '.join(found)} has no {' and no '.join(names)}, {lost}", "\n".join([commit, *merges])
