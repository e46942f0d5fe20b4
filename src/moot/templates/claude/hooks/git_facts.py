"""Facts about a repository: where its worktrees are, and on which branches."""

from __future__ import annotations

import os


def top_level(folder: str) -> str | None:
    """Return the top of the working tree that has this folder; None when it is in none."""
    folder = os.path.realpath(folder)
    while not os.path.lexists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def main_worktree(top: str) -> str:
    """Return the main worktree of the repository of which `top` is a worktree."""
    link = git_link(top)
    return link.partition("/.git/worktrees/")[0] if "/.git/worktrees/" in link else top


def git_link(top: str) -> str:
    """Return the folder to which the file `.git` of a linked worktree points; "" for a folder `.git`."""
    try:
        with open(os.path.join(top, ".git"), encoding="utf-8", errors="surrogateescape") as file:
            return os.path.realpath(os.path.join(top, file.read(4096).removeprefix("gitdir:").strip()))
    except OSError:
        return ""


def other_worktrees(own: str) -> dict[str, str]:
    """Return the branch of each other worktree of the repository of `own`, by its path; "" for none."""
    main = main_worktree(own)
    found = {main: _branch(f"{main}/.git/HEAD")}
    links = f"{main}/.git/worktrees"
    for name in sorted(os.listdir(links)) if os.path.isdir(links) else ():
        for line in lines_of(f"{links}/{name}/gitdir")[:1]:
            found[os.path.realpath(os.path.dirname(line))] = _branch(f"{links}/{name}/HEAD")
    found.pop(own, None)
    return found


def _branch(head: str) -> str:
    for line in lines_of(head)[:1]:
        if line.startswith("ref: refs/heads/"):
            return line.removeprefix("ref: refs/heads/")
    return ""


def lines_of(path: str) -> list[str]:
    """Return the lines of a file; none when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []
