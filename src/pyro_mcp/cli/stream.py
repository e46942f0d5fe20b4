"""Commands whose input and output are the terminal's own, or a pipe's."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import pyro_mcp
from pyro_mcp.command_line import ProgressLine, in_command_words, print_json
from pyro_mcp.results import VmExecResult, WorkspaceExecResult

OWN_FAILURE = 125
"""The exit code for a failure of pyro itself, so that it is not taken for the command's."""

_READERS = frozenset({"bash", "cat", "dash", "node", "psql", "python3", "sh", "sqlite3", "tee", "wc", "xargs"})
_NO_INPUT = """\
pyro: the command gets no input: what is typed at a terminal is not passed on
  pipe it into pyro, or use 'pyro workspace shell open' and 'pyro workspace shell attach'"""


@dataclass(frozen=True)
class Streams:
    """What a command is connected to; with `--json` its output goes into the result alone."""

    progress: ProgressLine
    stdin: IO[bytes] | None
    on_stdout: pyro_mcp.OutputSink | None
    on_stderr: pyro_mcp.OutputSink | None


@contextmanager
def streams(arguments: argparse.Namespace) -> Iterator[Streams]:
    """Connect a command to the terminal or the pipes of this process."""
    line = ProgressLine()

    def sink(output: IO[bytes]) -> pyro_mcp.OutputSink | None:
        def write(data: bytes) -> None:
            line.clear()
            output.flush()
            write_all(output.fileno(), data)

        return None if arguments.json else write

    # A terminal is not passed on: what is typed ahead belongs to the user's shell.
    on_terminal = sys.stdin is not None and sys.stdin.isatty()
    stdin = None if sys.stdin is None or on_terminal else sys.stdin.buffer
    if on_terminal and _reads_input(arguments.command):
        print(_NO_INPUT, file=sys.stderr)
    try:
        yield Streams(line, stdin, sink(sys.stdout.buffer), sink(sys.stderr.buffer))
    finally:
        line.clear()


def _reads_input(command: Sequence[str]) -> bool:
    """Return whether a command is a program that reads standard input when it has no arguments."""
    return len(command) == 1 and os.path.basename(command[0]) in _READERS


def write_all(fd: int, data: bytes) -> None:
    """Write everything, also to a pipe that somebody made non-blocking."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            select.select([], [fd], [])


def finish(arguments: argparse.Namespace, result: VmExecResult | WorkspaceExecResult) -> int:
    """Print the result as JSON, or on stderr what the output alone does not tell; the command's exit code."""
    if arguments.json:
        print_json(result)
        return result["exit_code"]
    if result["execution_mode"] == "host_compat":
        print("pyro: host_compat: this ran in a sandbox on the host, not in a virtual machine", file=sys.stderr)
    if result["hint"]:
        print(f"pyro: {in_command_words(result['hint'])}", file=sys.stderr)
    return result["exit_code"]
