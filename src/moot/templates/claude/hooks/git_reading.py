"""Which git commands change nothing, by their name and options."""

from __future__ import annotations

import re
from collections.abc import Callable

Args = list[str]
"""The words after the command; "" for one that is unknown."""
_READS = frozenset((
    "annotate", "blame", "cat-file", "check-attr", "check-ignore", "check-ref-format", "cherry", "count-objects",
    "describe", "diff", "diff-files", "diff-index", "diff-tree", "for-each-ref", "fsck", "grep", "help", "log",
    "ls-files", "ls-remote", "ls-tree", "merge-base", "merge-tree", "name-rev", "range-diff", "rev-list", "rev-parse",
    "shortlog", "show", "show-branch", "show-ref", "status", "var", "verify-commit", "verify-tag", "version",
    "whatchanged",
))  # fmt: skip
_FILTERS = (
    "--contains --no-contains --merged --no-merged --points-at --sort --format --column --no-column --color --no-color "
    "--ignore-case --list"
)
_OF_BRANCH = f"{_FILTERS} --all --remotes --show-current --verbose --abbrev --no-abbrev --quiet --omit-empty"
_LISTS_BRANCHES = "-a -r -l --all --remotes --list --show-current --contains --no-contains --merged --no-merged"
_OF_CONFIG = (
    "--get --get-all --get-regexp --get-urlmatch --list --global --system --local --worktree --file --blob --null "
    "--name-only --show-origin --show-scope --type --bool --int --path --includes --no-includes --default --all "
    "--regexp --value --fixed-value --url"
)
_GETS = "-l --list --get --get-all --get-regexp --get-urlmatch"
_OF_FAST_FORWARD = (
    "--ff-only --quiet --verbose --stat --no-stat --no-edit --prune --tags --no-tags --progress --no-progress "
    "--no-rebase --all"
)
# Options of reading commands that write a file, or run another program.
_WRITES = {"fsck": "--lost-found", "grep": "--open-files-in-pager"}


def reads(command: str | None, args: list[str | None]) -> bool:
    """Return whether a git command changes nothing; None for what is not known."""
    known = [one or "" for one in args]
    if any(_writes(command, one) for one in known):
        return False
    if command == "fetch":
        return None not in args and not writes_branches(known)
    if command in _READS_WITH:
        return None not in args[:1] and _READS_WITH[command](known)
    return command in _READS


def only_forwards(command: str | None, args: list[str | None]) -> bool:
    """Return whether a command only moves the current branch forward to what it merges, and does nothing else."""
    known = [one or "" for one in args]
    forward = command in ("merge", "pull") and "--ff-only" in known and _only(known, _OF_FAST_FORWARD, "qvnp")
    return forward and not refspecs(known)


def writes_branches(args: Args) -> bool:
    """Return whether a fetch may write other branches than those of remotes."""
    letters = "".join(one[1:] for one in args if re.fullmatch(r"-[A-Za-z]+", one))
    return "u" in letters or bool({"--update-head-ok", "--stdin"} & set(args)) or bool(refspecs(args))


def refspecs(args: Args) -> Args:
    """Return the words of a fetch, pull or push that name a source and a destination."""
    operands = [one for one in args if not one.startswith("-")]
    return [one for one in operands[1:] if ":" in one and "://" not in one]


def operands(args: Args) -> Args:
    """Return the words that are no options."""
    return [one for one in args if not one.startswith("-")]


def _writes(command: str | None, option: str) -> bool:
    name = option.partition("=")[0]
    # git takes each unambiguous beginning of a long option.
    if len(name) > 3 and any(one.startswith(name) for one in ("--output", _WRITES.get(command or "", ""))):
        return True
    return command == "grep" and bool(re.match(r"-[A-Za-z]*O", option))


def _only(args: Args, long: str, letters: str) -> bool:
    """Return whether all options are among these."""
    for one in args:
        if one == "--":
            break
        if one.startswith("--") and one.partition("=")[0] not in long.split():
            return False
        if re.match(r"-[^-]", one) and not re.fullmatch(rf"-([{letters}]|\d)+", one):
            return False
    return True


def _branch(args: Args) -> bool:
    lists = any(one.partition("=")[0] in _LISTS_BRANCHES.split() for one in args)
    return _only(args, _OF_BRANCH, "arvliq") and (lists or not operands(args))


def _tag(args: Args) -> bool:
    lists = any(re.match(r"-[ln]|--(list|(no-)?contains|(no-)?merged|points-at)", one) for one in args)
    return _only(args, _FILTERS, "lni") and (lists or not operands(args))


def _config(args: Args) -> bool:
    if args[:1] in (["list"], ["get"]):
        return _only(args, _OF_CONFIG, "lzf")
    # With one name and no value, git prints the value.
    prints = any(one in _GETS.split() for one in args) or (len(operands(args)) == 1 and "" not in args)
    return prints and _only(args, _OF_CONFIG, "lzf")


def _remote(args: Args) -> bool:
    rest = [one for one in args if one not in ("-v", "--verbose")]
    return rest[:1] in ([], ["show"], ["get-url"])


_READS_WITH: dict[str, Callable[[Args], bool]] = {
    "branch": _branch,
    "tag": _tag,
    "stash": lambda args: args[:1] in (["list"], ["show"]),
    "worktree": lambda args: args[:1] == ["list"],
    "remote": _remote,
    "config": _config,
    "reflog": lambda args: args[:1] in ([], ["show"], ["exists"]) or args[0].startswith("-"),
    "notes": lambda args: args[:1] in ([], ["list"], ["show"]),
    "bisect": lambda args: args[:1] in (["log"], ["view"]),
    "submodule": lambda args: args[:1] in ([], ["status"], ["summary"]),
    "symbolic-ref": lambda args: len(operands(args)) == 1 and _only(args, "--quiet --short", "q"),
}
