"""Programs that start the command in their own words, such as `env` and `timeout`: how their options are read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Words = list["str | None"]
_WITH_VALUE = {
    "command": "", "exec": "a", "builtin": "", "nohup": "", "time": "fo", "sudo": "ugpCrtTDRhU", "doas": "uC",
    "nice": "n", "ionice": "cnp", "setsid": "", "stdbuf": "ioe", "timeout": "ks", "xargs": "adEILnPs", "env": "uCS",
    "busybox": "", "chronic": "", "unbuffer": "", "flock": "wEc", "watch": "nq",
}  # fmt: skip
"""Each program, with its short options that have a value."""
_LONG_WITH_VALUE = frozenset((
    "chdir", "unset", "split-string", "argv0", "user", "group", "prompt", "host", "chroot", "signal", "kill-after",
    "adjustment", "class", "classdata", "input", "output", "error", "format", "arg-file", "delimiter", "max-args",
    "max-lines", "max-procs", "max-chars", "timeout", "wait", "conflict-exit-code", "command", "interval",
))  # fmt: skip
_OPERANDS = {"timeout": 1, "flock": 1}
STARTERS = frozenset(_WITH_VALUE)
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OPTIONS_OF_GIT = ("-C", "--git-dir", "--work-tree")
_CHANGING = frozenset((
    "add", "am", "checkout", "cherry-pick", "clean", "commit", "merge", "mv", "pull", "push", "rebase", "reset",
    "restore", "revert", "rm", "stash", "switch",
))  # fmt: skip
_FOLDER = re.compile(r"(-C|-D|--chdir|--cwd|--wd|--directory|--working-directory|--prefix)(=.*)?")


@dataclass
class Start:
    """What such a program starts, and with what options: a letter or a long name, and the value."""

    options: list[tuple[str, str | None]] = field(default_factory=list)
    variables: dict[str, str | None] = field(default_factory=dict)
    command: Words = field(default_factory=list)

    def values(self, *names: str) -> Words:
        """Return the values of an option that has these names."""
        return [value for option, value in self.options if option in names]


def read_start(program: str, words: Words) -> Start:
    """Return what the words after a program of `STARTERS` mean."""
    found, operands, rest = Start(), _OPERANDS.get(program, 0), list(words)
    while rest:
        word = rest[0]
        if word is not None and program in ("env", "sudo") and (pair := _ASSIGNMENT.fullmatch(word)):
            found.variables[pair[1]] = pair[2]
        elif word is not None and word.startswith("-") and len(word) > 1:
            rest = _option(found, program, word, rest[1:])
            continue
        elif operands:
            operands -= 1
        else:
            break
        rest = rest[1:]
    found.command = rest
    return found


def _option(found: Start, program: str, word: str, rest: Words) -> Words:
    """Add the options in a word; return the words after them and their values."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        follows = not equals and name in _LONG_WITH_VALUE
        found.options.append((name, _first(rest) if follows else value))
        return rest[1:] if follows else rest
    for number, letter in enumerate(word[1:], 2):
        if letter in _WITH_VALUE[program]:
            follows = number == len(word)
            found.options.append((letter, _first(rest) if follows else word[number:]))
            return rest[1:] if follows else rest
        found.options.append((letter, ""))
    return rest


def _first(words: Words) -> str | None:
    return words[0] if words else None


def git_among(words: Words) -> tuple[Words, bool] | None:
    """Return the words after `git` among those of a program that is not known, and whether it may change the folder.

    None when they are no git command that changes something.
    """
    for number, one in enumerate(words[:-1]):
        after = words[number + 1]
        if one is None or one.rpartition("/")[2] != "git" or after is None:
            continue
        if after in _CHANGING or after.partition("=")[0] in _OPTIONS_OF_GIT:
            return words[number + 1 :], any(before and _FOLDER.fullmatch(before) for before in words[:number])
    return None
