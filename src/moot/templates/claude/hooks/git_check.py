"""The check of one git command: whether it would change another worktree than that of the agent."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeGuard

from git_facts import git_link, main_worktree, top_level
from git_reading import only_forwards, reads
from git_shared import changed_for_others
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
        call = _read(shell, args, {**shell.variables, **local})
        command, rest = call.command, call.args
        if reads(command, rest):
            return
        places = _of_variables(shell, call.places, call.variables)
        if command is not None and command not in _BUILT_IN:
            _follow_alias(shell, command, rest, call.aliases, places)
        forward = only_forwards(command, rest)
        elsewhere = [place for place in places if not self._may_change(place, forward=forward)]
        if elsewhere:
            raise Refused(_reason(command, elsewhere[0], self.own))
        for place in places:
            changed = changed_for_others(command, rest, place, self.own) if self._is_own(place) else ""
            if changed:
                raise Refused(_reason_shared(command, changed, self.own))
        _follow_given(shell, command, rest, places)

    def _is_own(self, place: str | None) -> TypeGuard[str]:
        return place is not None and top_level(place) == self.own

    def _may_change(self, place: str | None, *, forward: bool) -> bool:
        if place is None:
            return False
        found = top_level(place)
        if found in (None, self.own) or (forward and found == main_worktree(self.own)):
            return True
        return found.startswith(self.own + os.sep) and "/worktrees/" not in git_link(found)


@dataclass(frozen=True)
class _Call:
    """A git command: where it runs, and with what."""

    command: str | None
    args: Words
    places: Places
    variables: Variables
    aliases: dict[str, str]


def _read(shell: Shell, args: Words, variables: Variables) -> _Call:
    """Read the options before the name of a git command."""
    places, aliases = shell.places, dict[str, str]()
    while args and args[0] is not None and args[0].startswith("-"):
        option, _, value = args[0].partition("=")
        follows = option in _WITH_VALUE and not value
        given = (args[1] if len(args) > 1 else None) if follows else value
        if option == "-C":
            places = frozenset(None if given is None else shell.path(place, given) for place in places)
        elif option == "-c" and given and given.startswith("alias."):
            aliases[given[6:].partition("=")[0]] = given.partition("=")[2]
        elif option == "-c" and given is None:
            places = places | {None}
        elif option in ("-c", "--config-env") and _sets_worktree(given):
            variables["GIT_WORK_TREE"] = given.partition("=")[2] if given and option == "-c" else None
        elif option in ("--git-dir", "--work-tree"):
            variables["GIT_DIR" if option == "--git-dir" else "GIT_WORK_TREE"] = given
        args = args[2:] if follows else args[1:]
    command, rest = (args[0], args[1:]) if args else ("help", [])
    return _Call(command, rest, places, variables, aliases)


def _sets_worktree(setting: str | None) -> bool:
    return setting is None or setting.partition("=")[0].lower() == "core.worktree"


def _follow_given(shell: Shell, command: str | None, rest: Words, places: Places) -> None:
    """Follow the commands that git itself starts, such as those of 'git rebase --exec'."""
    texts: Words = []
    if command == "rebase":
        texts = [after for one, after in pairwise(rest) if one in ("-x", "--exec")]
        texts += [one.partition("=")[2] for one in rest if one is not None and one.startswith("--exec=")]
    elif (command, *rest[:1]) in (("submodule", "foreach"), ("bisect", "run")):
        texts = [joined(rest[1:])]
    for text in texts:
        inner = shell.inner()
        inner.places = places
        inner.run("git" if text is None else text)


def _of_variables(shell: Shell, places: Places, variables: Variables) -> Places:
    found = set(places)
    for name, value in list(variables.items()):
        if name.startswith("GIT_CONFIG_KEY_") and _sets_worktree(value):
            variables["GIT_WORK_TREE"] = variables.get(name.replace("_KEY_", "_VALUE_"))
    if "core.worktree" in (variables.get("GIT_CONFIG_PARAMETERS") or "").lower():
        found.add(None)
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


def _reason_shared(command: str | None, changed: str, own: str) -> str:
    return (
        f"'git {command}' would change {changed}, which other agents use too; your worktree is {own}. "
        f"Change only what is in your own worktree and on your own branches."
    )
