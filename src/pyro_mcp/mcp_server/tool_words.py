"""Hints speak of the command line's words; a model knows tools and their arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyro_mcp.mcp_server.profiles import ALL

_ENVIRONMENT = re.compile(r"'pyro env (save|build|delete)[^']*'")
_VERB = re.compile(r"'pyro workspace ((?:file|patch|sync|disk|network|snapshot|shell|service) )?([a-z]+)[^']*'")
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)\b")
_COMMAND = re.compile(r"'pyro [^']*'")
_CLAUSE = re.compile(r"(, or |, and |, |; )")
_ALONE = {"snapshot ", "shell ", "service "}
_QUOTED = re.compile(r"\s*\d+  ")
# Options that are given once for each value, where the argument is a list.
_PLURALS = {"allow_host": "allow_hosts", "label": "labels", "secret": "secrets", "publish": "published_ports"}
# What only the user can give where a server does not offer the argument.
_OF_THE_USER = {
    "network_policy": "ask the user to allow the network with 'pyro host connect HOST --network-policy egress'",
}


@dataclass(frozen=True)
class Offered:
    """The names of the tools and arguments that a model can use."""

    tools: frozenset[str] = frozenset(tool.name for tool in ALL)
    arguments: frozenset[str] = frozenset(name for tool in ALL for name in tool.parameters)


EVERYTHING = Offered()


def in_tool_words(hint: str, offered: Offered = EVERYTHING) -> str:
    """The same with tools for verbs and arguments for options, but for lines that are quoted from a file.

    A verb that is not offered stays as a person would type it; what advises an option that is not offered is left
    out, or says what the user can do.
    """
    lines = (line if _QUOTED.match(line) else _line(line, offered) for line in hint.split("\n"))
    return "\n".join(lines).strip("\n")


def _line(line: str, offered: Offered) -> str:
    first, *rest = _CLAUSE.split(line)
    clauses = [("", first), *zip(rest[::2], rest[1::2], strict=True)]
    told = [(between, _clause(clause, offered)) for between, clause in clauses]
    kept = [(between, clause) for between, clause in told if clause]
    return "".join(f"{between if at else ''}{clause}" for at, (between, clause) in enumerate(kept))


def _clause(clause: str, offered: Offered) -> str:
    """A clause for a model; empty where it advises what is not offered."""
    lacking = sorted(_options(clause) - offered.arguments)
    if lacking:
        return next((_OF_THE_USER[option] for option in lacking if option in _OF_THE_USER), "")
    return "".join(
        _verb(part, offered) if _COMMAND.fullmatch(part) else _OPTION.sub(lambda found: _argument(found[1]), part)
        for part in re.split(f"({_COMMAND.pattern})", clause)
    )


def _verb(command: str, offered: Offered) -> str:
    """The tool for a command in quotes, where there is one."""
    name = _VERB.sub(_tool, _ENVIRONMENT.sub(r"env_\1", command))
    return name if name in offered.tools else command


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
