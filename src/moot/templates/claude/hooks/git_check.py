"""The check of one git command: whether it would change another worktree than that of the agent."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from git_facts import git_link, main_worktree, top_level
from git_reading import only_forwards, reads
from shell_commands import Places, Shell, Variables, Words, joined, quoted

_BUILT_IN = (
    "add", "am", "checkout", "clean", "commit", "merge", "pull", "push", "rebase", "reset", "restore", "switch",
)  # fmt: skip
_WITH_VALUE = ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--super-prefix", "--config-env", "--attr-source")


class Refused(Exception):
    """A git command would change, or might change, something outside the agent's worktree."""


@dataclass(frozen=True)
class GitCheck:
    """The check for the agent whose worktree is `own`."""

    own: str

    def __call__(self, shell: Shell, args: Words, local: Variables) -> None:
        """Refuse a git command that changes something and may run elsewhere."""
        variables = {**shell.variables, **local}
        places, aliases = shell.places, dict[str, str]()
        while args and (args[0] is None or args[0].startswith("-")):
            if args[0] is None:
                break
            option, _, value = args[0].partition("=")
            follows = option in _WITH_VALUE and not value
            given = (args[1] if len(args) > 1 else None) if follows else value
            if option == "-C":
                places = frozenset(None if given is None else shell.path(place, given) for place in places)
            elif option == "-c" and given and given.startswith("alias."):
                aliases[given[6:].partition("=")[0]] = given.partition("=")[2]
            elif option == "-c" and given is None:
                places = places | {None}
            elif option in ("--git-dir", "--work-tree"):
                variables["GIT_DIR" if option == "--git-dir" else "GIT_WORK_TREE"] = given
            args = args[2:] if follows else args[1:]
        command, rest = (args[0], args[1:]) if args else ("help", [])
        if reads(command, rest):
            return
        places = _of_variables(shell, places, variables)
        if command is not None and command not in _BUILT_IN:
            _follow_alias(shell, command, rest, aliases, places)
        forward = only_forwards(command, rest)
        elsewhere = [place for place in places if not self._may_change(place, forward=forward)]
        if elsewhere:
            raise Refused(_reason(command, elsewhere[0], self.own))

    def _may_change(self, place: str | None, *, forward: bool) -> bool:
        if place is None:
            return False
        found = top_level(place)
        if found in (None, self.own) or (forward and found == main_worktree(self.own)):
            return True
        return found.startswith(self.own + os.sep) and "/worktrees/" not in git_link(found)


def _of_variables(shell: Shell, places: Places, variables: Variables) -> Places:
    found = set(places)
    for name, ending in (("GIT_DIR", "/.git"), ("GIT_WORK_TREE", "")):
        if name in variables and variables[name] != "":
            value = variables[name]
            for place in places:
                path = None if value is None else shell.path(place, value)
                if ending and path is not None:
                    path = path.removesuffix(ending) if path.endswith(ending) else None
                found.add(path)
    return frozenset(found)


def _follow_alias(shell: Shell, command: str, rest: Words, aliases: dict[str, str], places: Places) -> None:
    """Follow an alias of git."""
    value = aliases.get(command)
    for place in places if value is None else ():
        if place is not None and os.path.isdir(place):
            asked = ["git", "-C", place, "config", "--get", f"alias.{command}"]
            value = value or subprocess.run(asked, capture_output=True, text=True, check=False, timeout=5).stdout
    if value and value.startswith("!"):
        inner = shell.inner()
        inner.places = frozenset(None if place is None else top_level(place) or place for place in places)
        inner.run(joined([value[1:], *(quoted(one) for one in rest)]))


def _reason(command: str | None, place: str | None, own: str) -> str:
    what = f"'git {command}'" if command else "a git command"
    where = "a folder that is known only when it runs" if place is None else str(top_level(place) or place)
    return (
        f"{what} would run in {where}, but your worktree is {own}. Work only in your own worktree, and write paths "
        f"out. In the main worktree only reading and '--ff-only' merges and pulls are allowed."
    )
