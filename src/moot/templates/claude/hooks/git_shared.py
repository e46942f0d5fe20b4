"""What a git command in the agent's own worktree would change for others.

Worktrees of a repository share branches, stashes and the configuration. What git refuses itself is not looked at: it
deletes no branch that a worktree has checked out, for example.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from git_facts import lines_of, main_worktree, other_worktrees, top_level
from git_reading import Args, operands, refspecs

_FOLDER = "/.worktrees/"
_OTHER_REFS = re.compile(r"(main-worktree|worktrees)/")
_RENAMES = re.compile(r"-[A-Za-z]*[mM]|--move")
_STASH_OF = re.compile(r"\t(?:WIP on|On) ([^:]+): ")
_UNKNOWN = "something that is known only when it runs"


@dataclass(frozen=True)
class Others:
    """The other worktrees of the agent's repository, and their branches, seen from one folder of the agent."""

    own: str
    place: str
    branches: dict[str, str]
    """The branch of each worktree, by its path; "" for none."""

    def has_branch(self, ref: str) -> bool:
        return ref.removeprefix("refs/heads/") in {one for one in self.branches.values() if one}

    def worktree(self, name: str) -> str:
        """Return the other agent's worktree, or the main one, that `name` means for git; "" for none."""
        path = os.path.realpath(os.path.join(self.place, name))
        for one in self.branches:
            # git takes the last components of a path too.
            if one == path or (name and one.endswith(f"/{name.rstrip('/')}") and _FOLDER in one):
                return one
        return ""


def changed_for_others(command: str | None, args: list[str | None], place: str, own: str) -> str:
    """Return what a command that runs in `place`, in the worktree `own`, changes for others; "" for nothing."""
    known = [one or "" for one in args]
    if command not in _RULES:
        return ""
    return _RULES[command](known, Others(own, place, other_worktrees(own)))


def _worktree(args: Args, others: Others) -> str:
    action, named = args[:1], operands(args[1:])
    if action == ["prune"]:
        return next((one for one in others.branches if _FOLDER in one and not os.path.isdir(one)), "")
    if action[:1] not in (["remove"], ["move"], ["lock"], ["unlock"]):
        return ""
    for name in named if action == ["lock"] else named[:1]:
        if not name or (found := others.worktree(name)):
            return found if name else _UNKNOWN
    return ""


def _update_ref(args: Args, others: Others) -> str:
    words = list(args)
    if "-m" in words:  # the reason
        del words[words.index("-m") : words.index("-m") + 2]
    return _UNKNOWN if "--stdin" in words else _ref(operands(words)[:1], others)


def _ref(names: Args, others: Others) -> str:
    for name in names:
        if not name:
            return _UNKNOWN
        if _OTHER_REFS.match(name) or (name.startswith("refs/heads/") and others.has_branch(name)):
            return name
    return ""


def _branch(args: Args, others: Others) -> str:
    named = operands(args)
    if len(named) < 2 or not any(_RENAMES.fullmatch(one) for one in args):
        return ""
    return _UNKNOWN if not named[0] else _named(named[:1], others)


def _named(names: Args, others: Others) -> str:
    return next((f"the branch {one}" for one in names if others.has_branch(one)), "")


def _checkout(args: Args, others: Others) -> str:
    if any(len(one) > 8 and "--ignore-other-worktrees".startswith(one) for one in args):
        return "a branch that another worktree has checked out"
    made = [after for one, after in pairwise(args) if one in ("-B", "-C", "--force-create")]
    attached = [found[1] for one in args if (found := re.fullmatch(r"(?:-[BC]|--force-create=)(.+)", one))]
    return _named([*made, *attached], others)


def _fetch(args: Args, others: Others) -> str:
    if any(re.fullmatch(r"-[A-Za-z]*u[A-Za-z]*|--update-head-ok", one) for one in args):
        return _pull(args, others) or (_UNKNOWN if "" in args or "--stdin" in args else "")
    return ""  # git writes no branch that is checked out


def _pull(args: Args, others: Others) -> str:
    targets = [one.rpartition(":")[2] for one in refspecs(args)]
    return "all branches" if any("*" in one for one in targets) else _named(targets, others)


def _push(args: Args, others: Others) -> str:
    remote = next(iter(operands(args)), "")
    path = os.path.join(others.place, remote.removeprefix("file://"))
    found = top_level(path) if remote and os.path.isdir(path) else None
    if found is not None and main_worktree(found) == main_worktree(others.own):
        return "branches of your own repository"
    return ""


def _stash(args: Args, others: Others) -> str:
    """Return the branch whose stash is taken or removed: all worktrees have the same list."""
    if args[:1] not in (["pop"], ["drop"], ["clear"], ["branch"]):
        return ""
    log = lines_of(os.path.join(main_worktree(others.own), ".git/logs/refs/stash"))[::-1]
    found = [_STASH_OF.search(one) for one in log]
    owners = [one[1] if one and others.has_branch(one[1]) else "" for one in found]
    numbers = [re.fullmatch(r"(?:stash@\{)?(\d+)\}?", one) for one in operands(args[1:])]
    number = next((int(one[1]) for one in numbers if one), 0)
    chosen = owners if args[0] == "clear" or "" in args else owners[number : number + 1]
    return next((f"a stash of the branch {one} ('git stash list' shows them)" for one in chosen if one), "")


def _config(args: Args, _: Others) -> str:
    keys = [one for one in args if one.lower() in ("core.worktree", "core.bare")]
    return f"{keys[0]} for all worktrees" if keys else ""


def _filter_branch(args: Args, others: Others) -> str:
    return "all branches" if {"--all", "--branches"} & set(args) else _named(operands(args), others)


_RULES: dict[str | None, Callable[[Args, Others], str]] = {
    "branch": _branch,
    "checkout": _checkout,
    "config": _config,
    "fetch": _fetch,
    "filter-branch": _filter_branch,
    "pull": _pull,
    "push": _push,
    "stash": _stash,
    "switch": _checkout,
    "symbolic-ref": lambda args, others: _ref(operands(args), others),
    "update-ref": _update_ref,
    "worktree": _worktree,
}
