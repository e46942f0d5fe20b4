"""From `sys.argv` to an exit code."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from pyro_mcp import __version__
from pyro_mcp.cli import completion, demo, doctor, env, host, mcp, prepare, run, workspace
from pyro_mcp.cli.completion import complete
from pyro_mcp.cli.parser import Parser
from pyro_mcp.cli.render import in_command_words
from pyro_mcp.errors import InvalidRequest, PyroError, own_error

_EXAMPLES = """\
examples:
  pyro doctor                             what this host has and lacks
  pyro prepare debian:12                  build the environment for fast starts
  pyro run debian:12 -- git --version     one command in a fresh virtual machine
  tar c . | pyro run debian:12 -- tar tv  standard input and output are pipes

exit codes:
  0 success   2 wrong usage   3 not found   4 wrong state, or busy
  5 the host is not ready   6 a host program failed
  7 an environment failed   8 the guest failed   9 a deadline passed
  10 a disk is full   130 interrupted
  'pyro run' returns the command's own code, 124 when it timed out,
  125 when pyro itself failed
"""


def run_command_line(words: Sequence[str]) -> int:
    """Run one command line; return its exit code. Raises `KeyboardInterrupt`."""
    _open_closed_streams()
    parser = command_parser()
    complete(parser)
    options, command = _split_at_dashes(list(words))
    arguments, unknown = parser.parse_known_args(options)
    arguments.command = command
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if unknown:
        return _refuse(unknown, arguments)
    if hasattr(arguments, "own_failure") and not command:
        error = InvalidRequest(
            "there is no command to run", hint=f"write it after --, for example: {arguments.example}"
        )
        return _report(error, arguments, error.exit_code)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _unwind)
    try:
        status: int = arguments.act(arguments)
        sys.stdout.flush()
        return status
    except PyroError as error:
        return _report(error, arguments)
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _report(own_error(error), arguments)


def _refuse(unknown: list[str], arguments: argparse.Namespace) -> int:
    """Report words that mean nothing; return the exit code of wrong usage, as the parser itself does."""
    runs = hasattr(arguments, "own_failure")
    otherwise = "write the command to run after --" if runs else f"'{arguments.parser.prog} --help' shows the usage"
    hint = arguments.parser.hint_for(unknown if not runs or unknown[0].startswith("-") else []) or otherwise
    error = InvalidRequest(f"unknown arguments: {' '.join(unknown)}", hint=hint)
    return _report(error, arguments, error.exit_code)


def _open_closed_streams() -> None:
    """Connect a standard stream that was closed for us (`>&-`) to /dev/null, so that no file gets its number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(fd)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - as the interpreter itself would
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _split_at_dashes(words: list[str]) -> tuple[list[str], list[str] | None]:
    """Return the words before the first `--`, and the command after it (None without one)."""
    if "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = Parser(
        prog="pyro",
        description="Disposable microVM workspaces for coding agents.",
        epilog=_EXAMPLES,
    )
    parser.set_defaults(json=False)
    parser.add_argument("--version", action="version", version=f"pyro {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (doctor, prepare, run, workspace, env, mcp, host, demo, completion):
        group.add(verbs)
    return parser


def _report(error: PyroError, arguments: argparse.Namespace, exit_code: int | None = None) -> int:
    """Print an error; return its exit code, or that of a failure of pyro where the command's own code is returned."""
    hint = in_command_words(error.hint)
    if arguments.json:
        print(json.dumps({"error": {"code": error.code, "message": error.message, "hint": hint}}, indent=2))
    # What a guest has named or said may be in it, and must not reach the terminal as more than text.
    for line in [*f"pyro: {error.message}".splitlines(), *(f"  {line}" for line in hint.splitlines())]:
        print("".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in line), file=sys.stderr)
    return getattr(arguments, "own_failure", error.exit_code) if exit_code is None else exit_code


def _unwind(number: int, _frame: FrameType | None) -> None:
    """End as if by an exception, so that machines made for this command are deleted."""
    sys.exit(128 + number)
