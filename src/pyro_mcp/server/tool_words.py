"""Hints speak of the command line's words; a model knows tools and their arguments."""

from __future__ import annotations

import re

from pyro_mcp.server.profiles import ALL

_ENVIRONMENT = re.compile(r"'pyro env (save|build|delete)[^']*'")
_VERB = re.compile(r"'pyro workspace ((?:file|patch|sync|disk|network|snapshot|shell|service) )?([a-z]+)[^']*'")
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)\b")
_COMMAND = re.compile(r"'pyro [^']*'")
_CLAUSE = re.compile(r"(, or |, and |, |; )")
_ALONE = {"snapshot ", "shell ", "service "}
_QUOTED = re.compile(r"\s*\d+  ")
# Options that are given once for each value, where the argument is a list.
_PLURALS = {"allow_host": "allow_hosts", "label": "labels", "secret": "secrets", "publish": "published_ports"}
_ARGUMENTS = {name for tool in ALL for name in tool.parameters}


def in_tool_words(hint: str) -> str:
    """The same with tools for verbs and arguments for options, but for lines that are quoted from a file.

    What advises an option that no tool has is left out.
    """
    return "\n".join(line if _QUOTED.match(line) else _line(line) for line in hint.split("\n")).strip("\n")


def _line(line: str) -> str:
    first, *rest = _CLAUSE.split(_VERB.sub(_tool, _ENVIRONMENT.sub(r"env_\1", line)))
    clauses = [("", first), *zip(rest[::2], rest[1::2], strict=True)]
    kept = [(between, clause) for between, clause in clauses if _options(clause) <= _ARGUMENTS]
    words = "".join(f"{between if at else ''}{clause}" for at, (between, clause) in enumerate(kept))
    return "".join(
        part if _COMMAND.fullmatch(part) else _OPTION.sub(lambda found: _argument(found[1]), part)
        for part in re.split(f"({_COMMAND.pattern})", words)
    )


def _options(clause: str) -> set[str]:
    """The arguments that a clause advises; a command that a person types may have options of its own."""
    return {_argument(option) for option in _OPTION.findall(_COMMAND.sub("", clause))}


def _argument(option: str) -> str:
    word = option.replace("-", "_")
    return _PLURALS.get(word, word)


def _tool(found: re.Match[str]) -> str:
    group, verb = found[1] or "", found[2]
    name = f"{group.replace(' ', '_')}{verb}"
    return name if group in _ALONE else f"workspace_{name}"
