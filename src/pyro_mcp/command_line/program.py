"""The run of one command line, from `sys.argv` to an exit code."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from pyro_mcp.command_line.parser import program_of
from pyro_mcp.command_line.render import in_command_words
from pyro_mcp.errors import InvalidRequest, PyroError, own_error


def run_command_line(
    words: Sequence[str],
    command_parser: Callable[[], argparse.ArgumentParser],
    complete: Callable[[argparse.ArgumentParser], None],
) -> int:
    """Run one command line; return its exit code. Raises `KeyboardInterrupt`.

    `complete` answers a shell that asks for completions. `arguments.command` has the words after `--`. A verb that
    returns the exit code of a command sets the default `own_failure`, the exit code of its own failures. It needs a
    command, unless it also sets the default `command_optional`.
    """
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
    if _runs_a_command(arguments) and not command:
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


def _runs_a_command(arguments: argparse.Namespace) -> bool:
    """Return whether the verb runs the command that stands after `--`."""
    return hasattr(arguments, "own_failure") and not getattr(arguments, "command_optional", False)


def _refuse(unknown: list[str], arguments: argparse.Namespace) -> int:
    """Report words that mean nothing; return the exit code of wrong usage, as the parser itself does."""
    runs = _runs_a_command(arguments)
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


def _report(error: PyroError, arguments: argparse.Namespace, exit_code: int | None = None) -> int:
    """Print an error; return its exit code, or the `own_failure` of a verb that returns a command's exit code."""
    if arguments.json:
        hint = in_command_words(error.hint)
        told = {"code": error.code, "message": error.message, "hint": hint, **error.details}
        print(json.dumps({"error": told}, indent=2))
    print_error(program_of(arguments.parser), error)
    return getattr(arguments, "own_failure", error.exit_code) if exit_code is None else exit_code


def print_error(program: str, error: PyroError) -> None:
    """Print an error of a program on standard error, with its hint."""
    hint = in_command_words(error.hint)
    # What a guest has named or said may be in it, and must not reach the terminal as more than text.
    for line in [*f"{program}: {error.message}".splitlines(), *(f"  {line}" for line in hint.splitlines())]:
        print("".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in line), file=sys.stderr)


def _unwind(number: int, _frame: FrameType | None) -> None:
    """End as if by an exception, so that machines made for this command are deleted."""
    sys.exit(128 + number)
