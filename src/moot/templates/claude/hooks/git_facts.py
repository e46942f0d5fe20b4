"""Facts about git: which commands only read, and where the worktrees of a repository are."""

from __future__ import annotations

import os
from collections.abc import Callable

_READS = frozenset((
    "annotate", "blame", "cat-file", "check-attr", "check-ignore", "check-ref-format", "cherry", "count-objects",
    "describe", "diff", "diff-files", "diff-index", "diff-tree", "fetch", "for-each-ref", "fsck", "grep", "help",
    "log", "ls-files", "ls-remote", "ls-tree", "merge-base", "merge-tree", "name-rev", "range-diff", "rev-list",
    "rev-parse", "shortlog", "show", "show-branch", "show-ref", "status", "var", "verify-commit", "verify-tag",
    "version", "whatchanged"
))  # fmt: skip
_READS_WITH: dict[str, Callable[[list[str]], bool]] = {
    "branch": lambda args: not args or _lists(args, "-a -r -v -vv -l --all --remotes --list --show-current --contains"),
    "tag": lambda args: not args or _lists(args, "-l -n --list --contains --points-at"),
    "stash": lambda args: args[:1] in (["list"], ["show"]),
    "worktree": lambda args: args[:1] == ["list"],
    "remote": lambda args: args[:1] in ([], ["-v"], ["show"], ["get-url"]),
    "config": lambda args: args[:1] in (["list"], ["get"]) or _lists(args, "--get --get-all --list -l"),
    "reflog": lambda args: args[:1] in ([], ["show"]),
    "notes": lambda args: args[:1] in ([], ["list"], ["show"]),
    "bisect": lambda args: args[:1] in (["log"], ["view"]),
    "submodule": lambda args: args[:1] in ([], ["status"], ["summary"]),
    "symbolic-ref": lambda args: len([one for one in args if not one.startswith("-")]) < 2 and "-d" not in args,
}


def reads(command: str | None, args: list[str | None]) -> bool:
    """Return whether a git command changes nothing; None for what is not known."""
    if command in _READS_WITH:
        return None not in args[:1] and _READS_WITH[command]([one or "" for one in args])
    return command in _READS


def _lists(args: list[str], options: str) -> bool:
    return any(one.partition("=")[0] in options.split() for one in args) and not _changes(args)


def _changes(args: list[str]) -> bool:
    return any(one in ("-d", "-D", "-m", "-M", "-c", "-C", "-f", "--delete", "--move", "--force") for one in args)


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
