"""Hints speak of the command line's words; a model knows tools and their arguments."""

from __future__ import annotations

import re

_VERB = re.compile(r"'pyro workspace ((?:file|patch|sync|disk|network|snapshot|shell|service) )?([a-z]+)[^']*'")
_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)\b")
_ALONE = {"snapshot ", "shell ", "service "}
_QUOTED = re.compile(r"\s*\d+  ")


def in_tool_words(hint: str) -> str:
    """The same with tools for verbs and arguments for options, but for lines that are quoted from a file."""
    lines = hint.split("\n")
    return "\n".join(line if _QUOTED.match(line) else _OPTION.sub(_argument, _VERB.sub(_tool, line)) for line in lines)


def _argument(found: re.Match[str]) -> str:
    return found[1].replace("-", "_")


def _tool(found: re.Match[str]) -> str:
    group, verb = found[1] or "", found[2]
    name = f"{group.replace(' ', '_')}{verb}"
    return name if group in _ALONE else f"workspace_{name}"
