"""Write the tables of docs/public-contract.md from the code: `.venv/bin/python -m scripts.public_contract`.

The words between the tables are written by hand. With `--check` nothing is written, and the exit code is 1 when a table
is not what the code says.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyro_mcp
from pyro_mcp import errors
from pyro_mcp.cli.program import command_parser
from pyro_mcp.command_line import spelled, verbs
from pyro_mcp.host.progress import silent
from pyro_mcp.mcp_server.profiles import ALL, MODES, PROFILES, Offer
from pyro_mcp.mcp_server.tool import Tool
from pyro_mcp.serving import ServeKeywords, ServeOptions

DOCUMENT = Path(__file__).parents[1] / "docs/public-contract.md"
_EVERYWHERE = {"--json", "--help"}


def commands() -> Iterator[str]:
    """Yield every command with its arguments and options; those that every command has are left out."""
    yield from ("| command | options |", "|---|---|")
    for verb in verbs(command_parser()):
        shown = [action for action in verb._actions if not _EVERYWHERE & {*action.option_strings}]
        shown = [action for action in shown if not isinstance(action, argparse._SubParsersAction)]
        needed = [action for action in shown if action.required and action.option_strings]
        words = [spelled(action) for action in shown if not action.option_strings]
        words += [spelled(action) for action in needed] + (["-- COMMAND"] if _runs(verb) else [])
        options = [f"`{spelled(action)}`" for action in shown if action.option_strings and action not in needed]
        yield f"| `{' '.join([verb.prog, *words])}` | {', '.join(options)} |"


def _runs(verb: argparse.ArgumentParser) -> bool:
    """Return whether a verb runs a command in a machine: then a failure of our own has an exit code of its own."""
    return verb.get_default("own_failure") is not None


def exit_codes() -> Iterator[str]:
    """Yield every exit code of a failure, with the error of the SDK that leads to it."""
    yield from ("| exit code | error of the SDK | `code` in JSON and over MCP |", "|---|---|---|")
    found = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.PyroError)]
    for error in sorted(found, key=lambda one: one.exit_code):
        yield f"| {error.exit_code} | `{error.__name__}` | `{error.code}` |"


def methods() -> Iterator[str]:
    """Yield every public method of `Pyro`."""
    yield from ("| method of `Pyro` | |", "|---|---|")
    for name, method in inspect.getmembers(pyro_mcp.Pyro, inspect.isfunction):
        if not name.startswith("_"):
            yield f"| `{name}{_signature(method)}` | {_first_sentence(method)} |"


def package() -> Iterator[str]:
    """Yield every public name of `pyro_mcp` itself."""
    yield from ("| name in `pyro_mcp` | |", "|---|---|")
    for name in [one for one in pyro_mcp.__all__ if not one.startswith("_")]:
        thing = getattr(pyro_mcp, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield f"| `{name}{_signature(thing)}` | {_first_sentence(thing)} |"
        else:
            yield f"| `{name}` | `{thing!r}` |"


def profiles() -> Iterator[str]:
    """Yield the tools of every profile."""
    yield from _offers("profile", PROFILES)


def modes() -> Iterator[str]:
    """Yield the tools of every mode."""
    yield from _offers("mode", MODES)


def tools() -> Iterator[str]:
    """Yield every tool with its arguments; those that only the full profile has are marked."""
    yield from ("| tool | arguments | optional arguments |", "|---|---|---|")
    for tool in ALL:
        yield f"| `{tool.name}` | {_arguments(tool, required=True)} | {_arguments(tool, required=False)} |"


def _offers(kind: str, table: Mapping[str, Offer]) -> Iterator[str]:
    yield from (f"| {kind} | for | tools |", "|---|---|---|")
    for name, offer in table.items():
        named = "all" if len(offer.names) == len(ALL) else ", ".join(f"`{tool}`" for tool in offer.names)
        yield f"| `{name}` | {offer.purpose} | {named} |"


def _arguments(tool: Tool, *, required: bool) -> str:
    names = [name for name in tool.parameters if (name in tool.required) == required]
    return ", ".join(f"`{name}`{' ¹' if name in tool.only_full else ''}" for name in names)


def _signature(thing: Callable[..., object]) -> str:
    """Return the parameters with their defaults, without `self` and without types."""
    whole = inspect.signature(thing)
    bare = [
        one.replace(annotation=one.empty, default=_told(one.default))
        for given in whole.parameters.values()
        for one in _spread(given)
        if one.name != "self"
    ]
    return str(inspect.Signature(bare))


def _spread(given: inspect.Parameter) -> list[inspect.Parameter]:
    """Return a parameter, or the options of the MCP server one by one."""
    if given.annotation != "Unpack[ServeKeywords]":
        return [given]
    defaults = inspect.signature(ServeOptions).parameters
    return [defaults[name].replace(kind=given.KEYWORD_ONLY) for name in ServeKeywords.__annotations__]


class _Nothing:
    """A default function that does nothing: its own name would say less to a reader."""

    def __repr__(self) -> str:
        return "nothing"


def _told(default: object) -> object:
    return _Nothing() if default is silent else default


def _first_sentence(thing: object) -> str:
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.;:])\s", text)[0].rstrip(".;:").replace("|", "\\|")


TABLES = {
    "commands": commands,
    "exit codes": exit_codes,
    "package": package,
    "methods": methods,
    "profiles": profiles,
    "modes": modes,
    "tools": tools,
}


def renewed(document: str) -> str:
    """Return the document with every table made from the code; raise `KeyError` for a table that has no place in it."""
    for name, table in TABLES.items():
        opening, closing = f"<!-- made from the code: {name} -->", f"<!-- end of {name} -->"
        if document.count(opening) != 1 or document.count(closing) != 1:
            raise KeyError(f"the document has no place for the table {name!r}: {opening} … {closing}")
        before, rest = document.split(opening)
        after = rest.split(closing)[1]
        document = "\n".join([f"{before}{opening}", *table(), f"{closing}{after}"])
    return document


def main() -> int:
    """Write the tables, or with `--check` compare them."""
    parser = argparse.ArgumentParser(description="Write the tables of docs/public-contract.md from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something differs")
    arguments = parser.parse_args()
    found = DOCUMENT.read_text()
    made = renewed(found)
    if arguments.check:
        return int(found != made)
    DOCUMENT.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
