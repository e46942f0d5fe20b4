"""The parts that the command lines of this package and of the packages above it share: parser, output, exit codes.

    def add(verbs: Verbs) -> None:
        parser = verb(verbs, "count", "count the entries of a folder", _count, example="example count .")
        parser.add_argument("folder", help="folder to look into")

    def _count(arguments: argparse.Namespace) -> int:
        ...  # one call on the core
        print_json(result) if arguments.json else print(table(rows))
        return 0

    def command_parser() -> Parser:
        parser = Parser(prog="example", description="An example.")
        add(add_verbs(parser, version="1.0"))
        return parser

    exit_code = run_command_line(sys.argv[1:], command_parser, complete)

An error of `pyro_mcp.errors` becomes a message with its hint on standard error, and its exit code.
"""

from __future__ import annotations

from pyro_mcp.command_line.completion import add_completion, answer_completion
from pyro_mcp.command_line.parser import (
    Parser,
    Verbs,
    add_verbs,
    own_actions,
    spelled,
    verb,
    verbs,
)
from pyro_mcp.command_line.program import print_error, run_command_line
from pyro_mcp.command_line.render import (
    ProgressLine,
    ago,
    in_command_words,
    paragraph,
    print_json,
    progress_line,
    shown,
    size,
    table,
    until,
)

__all__ = [
    "Parser",
    "ProgressLine",
    "Verbs",
    "add_completion",
    "add_verbs",
    "ago",
    "answer_completion",
    "in_command_words",
    "own_actions",
    "paragraph",
    "print_error",
    "print_json",
    "progress_line",
    "run_command_line",
    "shown",
    "size",
    "spelled",
    "table",
    "until",
    "verb",
    "verbs",
]
