"""The argument parser of every command: it suggests near matches and takes `--json` in any place."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeAlias

from pyro_mcp.hints import near_match

COMMAND = "COMMAND"
"""The word for a subcommand in help texts."""
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # argparse has no public name for it


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors say what to do; subcommands get parsers of this class too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})
        # Without a default: a subcommand's own would overwrite what was given before its name.
        self.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the result as JSON")
        self.set_defaults(parser=self)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse an unknown command or choice with its near match; called by `argparse`."""
        if action.choices is not None and value not in action.choices:
            known = [str(one) for one in action.choices]
            what = "command" if isinstance(action, argparse._SubParsersAction) else "choice"
            hint = near_match(str(value), known) or f"choose from {', '.join(known)}"
            raise argparse.ArgumentError(None, f"there is no {what} {value!r}; {hint}")

    def error(self, message: str) -> NoReturn:
        """End with exit code 2: the message first, then where the help is; for a bare group of commands, its help."""
        if message.endswith(f"required: {COMMAND}"):
            self.print_help(sys.stderr)
            self.exit(2)
        self.exit(2, f"{program_of(self)}: {message}\n  '{self.prog} --help' shows the usage\n")

    def format_help(self) -> str:
        """Return the help, whose first line names what must be given; the options follow below."""
        self.usage = self.usage or self._short_usage()
        paragraphs = (self.description or "").splitlines()
        self.description = "\n".join(textwrap.fill(one, shutil.get_terminal_size().columns) for one in paragraphs)
        return super().format_help()

    def _short_usage(self) -> str:
        """Return `pyro VERB [options] --required X ARGUMENT`, over as many lines as it takes."""
        words = [self.prog, "[options]"]
        required = [group for group in self._mutually_exclusive_groups if group.required]
        words += [f"({' | '.join(spelled(one) for one in group._group_actions)})" for group in required]
        words += [spelled(one) for one in self._actions if one.option_strings and one.required]
        words += [spelled(one) for one in self._actions if not one.option_strings]
        width = shutil.get_terminal_size().columns - len("usage: ")
        lines = textwrap.wrap(" ".join(words), width, subsequent_indent=" " * 11, break_on_hyphens=False)
        return "\n".join(lines).replace("%", "%%")

    def hint_for(self, unknown: list[str]) -> str:
        """Return what the author of these unknown words may have meant; "" when nothing is near."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        found = (near_match(word.split("=")[0], options) for word in unknown if word.startswith("-"))
        return next(filter(None, found), "")


def program_of(parser: argparse.ArgumentParser) -> str:
    """Return the name of the program that a command belongs to."""
    return parser.prog.partition(" ")[0]


def add_verbs(parser: argparse.ArgumentParser, *, version: str) -> Verbs:
    """Add `--version` to the parser of a program; return the group that its verbs are added to."""
    parser.set_defaults(json=False)
    parser.add_argument("--version", action="version", version=f"{parser.prog} {version}")
    return parser.add_subparsers(title="commands", metavar=COMMAND, required=True)


def verb(
    verbs: Verbs, name: str, purpose: str, act: Callable[[argparse.Namespace], int], *, example: str
) -> argparse.ArgumentParser:
    """Add a verb with its help, its example and the function that runs it."""
    parser = verbs.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog="example:\n" + textwrap.indent(example, "  "),
    )
    parser.set_defaults(act=act, example=example)
    return parser


def verbs(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of commands, in the order of the help; one that only groups others is left out."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if parser.get_default("act") is not None:
        yield parser
    for group in groups:
        for verb in group.choices.values():
            yield from verbs(verb)


def own_actions(verb: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the options and arguments of a command, without those that every command has."""
    return [action for action in verb._actions if action.dest not in ("help", "json")]


def spelled(action: argparse.Action) -> str:
    """Return an option or argument as a user writes it."""
    value = action.metavar or action.dest
    if action.option_strings:
        return f"{', '.join(action.option_strings)}{'' if action.nargs == 0 else f' {value}'}"
    forms = {"?": f"[{value}]", "+": f"{value} [{value} ...]", "A...": f"{value} ..."}
    return forms.get(str(action.nargs), str(value))
