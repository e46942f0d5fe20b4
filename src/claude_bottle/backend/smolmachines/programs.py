"""Our two static programs in a machine: one keeps the agent's terminal, the other works on the tree."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from claude_bottle.backend.interface import TREE
from claude_bottle.backend.smolmachines import smolvm
from pyro_mcp.errors import Interrupted
from pyro_mcp.host.process import run
from pyro_mcp.sessions import Command, Outcome, SessionClient, session_binary
from pyro_mcp.trees import GuestTree, tool_binary, tool_error

FOLDER = "/var/lib/claude-bottle"
BASELINE = f"{FOLDER}/baseline"
"""The folder with a copy of the tree as the launch made it."""
AGENT = "agent"
"""The name of the agent's session."""
_SESSION, _SESSIONS, _TOOL = f"{FOLDER}/session", f"{FOLDER}/sessions", f"{FOLDER}/tool"
_WITHOUT_LIMIT = 1e6  # seconds, 11 days: as good as no deadline
_TOOL_SECONDS = 1800.0
_LEAVE_SECONDS = 2.0  # in which a terminal is left after the end of its input
_CHUNK = 64 * 1024


def install_programs(name: str) -> None:
    """Copy both programs into a running machine."""
    smolvm.machine_exec(name, ["mkdir", "-p", "-m", "700", FOLDER, _SESSIONS, BASELINE])
    for program, path in ((session_binary(), _SESSION), (tool_binary(), _TOOL)):
        smolvm.machine_cp(str(program), f"{name}:{path}")
        smolvm.machine_exec(name, ["chmod", "700", path])


def sessions(name: str) -> SessionClient:
    """Return the client of a machine's sessions."""
    return SessionClient(MachineRunner(name), program=[_SESSION, _SESSIONS])


def tree(name: str) -> GuestTree:
    """Return the agent's tree, compared with the baseline."""
    return GuestTree(ToolRunner(name), merged=TREE, baseline=BASELINE, upper=None)


def keep_baseline(name: str) -> None:
    """Copy the tree to the baseline, with which later changes are compared."""
    ToolRunner(name)(["copy", TREE, BASELINE], on_stdout=_discard)


def _discard(_: bytes) -> None:
    """Ignore the names of the entries that were copied."""


class MachineRunner:
    """A runner of commands in a machine, by `machine exec`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def run(self, command: Command) -> Outcome:
        """Run a command to its end; raises `DeadlineExceeded`, and `Interrupted` when its `interrupt` is readable."""
        with _standard_input(command) as (given, was_interrupted, late):
            words = smolvm.exec_words(
                self._name,
                [os.fsdecode(word) for word in command.argv],
                environ=command.environ,
                workdir=command.cwd,
                interactive=given is not None,
            )
            kept, total, begin = bytearray(), 0, time.monotonic()

            def take(piece: bytes) -> None:
                nonlocal total
                total += len(piece)
                kept.extend(piece[: max(0, command.output_cap - len(kept))])
                if command.on_stdout is not None:
                    command.on_stdout(piece)

            done = run(
                [smolvm.program(), "machine", *words],
                deadline_seconds=command.timeout_seconds or _WITHOUT_LIMIT,
                stdin=given,
                extra_environment=smolvm.extra_environment(),
                on_stdout=take,
                interrupt=late,
                check=False,
            )
        if was_interrupted():
            raise Interrupted("the terminal was left")
        code = done.exit_code if done.exit_code >= 0 else 128 - done.exit_code
        return Outcome(
            code, bytes(kept), done.stderr, total, len(done.stderr), False, None, (time.monotonic() - begin) * 1000
        )


class ToolRunner:
    """A runner of the guest tool in a machine."""

    def __init__(self, name: str) -> None:
        self._runner = MachineRunner(name)

    def __call__(
        self,
        arguments: Sequence[str | bytes],
        *,
        stdin: bytes | IO[bytes] | None = None,
        on_stdout: Callable[[bytes], None],
    ) -> None:
        command = Command(
            [_TOOL, *arguments], cwd="/", stdin=stdin, on_stdout=on_stdout, output_cap=0, timeout_seconds=_TOOL_SECONDS
        )
        done = self._runner.run(command)
        if done.exit_code != 0:
            raise tool_error(done.exit_code, done.stderr, disk="the machine's disk")


@contextmanager
def _standard_input(command: Command) -> Iterator[tuple[bytes | IO[bytes] | None, Callable[[], bool], int | None]]:
    """Yield a command's input, which ends when `command.interrupt` is readable, and whether that happened.

    The last value is a descriptor that becomes readable when the command has not ended some seconds after that: then
    the program of this host has to be killed.
    """
    source = command.stdin
    if command.interrupt is None or source is None or isinstance(source, bytes):
        yield source, lambda: False, command.interrupt
        return
    ours, theirs = os.pipe()
    ended, late, interrupted = os.pipe(), os.pipe(), threading.Event()
    watched = (source.fileno(), command.interrupt, ended[0])
    pump = threading.Thread(target=_pump, args=(watched, theirs, interrupted, late[1]))
    pump.start()
    try:
        with open(ours, "rb") as reader:
            yield reader, interrupted.is_set, late[0]
    finally:
        os.close(ended[1])
        pump.join()
        for descriptor in (ended[0], *late):
            os.close(descriptor)


def _pump(watched: tuple[int, int, int], target: int, interrupted: threading.Event, late: int) -> None:
    """Copy what is typed to `target` until the interrupt becomes readable or the command has ended.

    Write to `late` when the command goes on although its input has ended by an interrupt.
    """
    source, interrupt, ended = watched
    with open(target, "wb", buffering=0) as writer:
        os.set_blocking(target, False)
        waiting, at_end = b"", False
        while True:
            read = [interrupt, ended, *([] if waiting or at_end else [source])]
            readable = select.select(read, [writer] if waiting else [], [])[0]
            if ended in readable:
                return
            if interrupt in readable:
                interrupted.set()
                break
            if source in readable:
                waiting = os.read(source, _CHUNK)
                at_end = not waiting
            if waiting:
                try:
                    waiting = waiting[writer.write(waiting) or 0 :]
                except BrokenPipeError:
                    waiting, at_end = b"", True
            if at_end:
                writer.close()
    if not select.select([ended], [], [], _LEAVE_SECONDS)[0]:
        os.write(late, b"x")
