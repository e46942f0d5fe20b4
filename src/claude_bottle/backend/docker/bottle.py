"""A launched bottle in a container."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from claude_bottle.backend.docker import container
from claude_bottle.backend.docker.account import Account
from claude_bottle.backend.docker.container import AS_AGENT
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.guest import ContainerGuest
from claude_bottle.backend.docker.names import Names
from claude_bottle.backend.docker.removal import remove
from claude_bottle.backend.docker.terminal import REPLAYED, Terminal
from claude_bottle.backend.docker.tree import Tree
from claude_bottle.backend.guest_output import GuestOutput
from claude_bottle.backend.home_file import packed_file
from claude_bottle.backend.interface import HOME_SECONDS, Guest, Outcome, TreeDiff
from claude_bottle.errors import BottleFailed
from pyro_mcp.errors import DeadlineExceeded, NotFound
from pyro_mcp.network import read_network_log

_ALIVE = ("created", "running", "paused", "restarting")
_GRACE = 10.0
_SHOWN = 2000
_NOT_THERE = ("no such container:path", "could not find the file")  # releases before and since 24
_ARCHIVE_BYTES = 64 * 1024  # that an archive of one file has beside the file
# Killing the program `docker` does not end what it started in the container.
_WITH_DEADLINE = 'command -v timeout >/dev/null && set -- timeout -k 1 "$0" "$@"; exec "$@"'
_TIMED_OUT = (124, 137)


class DockerBottle:
    """The container and the volumes of a bottle."""

    def __init__(self, engine: Engine, names: Names, account: Account) -> None:
        self.slug, self.container = names.slug, names.container
        self.guest: Guest = ContainerGuest(engine, names.container, account)
        self._engine = engine
        self._names = names
        self._tree = Tree(engine, names)
        self._terminal = Terminal(engine, names.container)

    def exit_code(self) -> int | None:
        found = self._engine.inspect(self._names.container)
        if found is None:
            raise NotFound(
                f"the container of the bottle {self.slug} does not exist any more",
                hint=f"'claude-bottle stop {self.slug}' removes the rest",
            )
        return None if found["State"]["Status"] in _ALIVE else int(found["State"]["ExitCode"])

    def attach(
        self, stdin: BinaryIO, on_output: Callable[[bytes], None], *, interrupt: int | None = None
    ) -> int | None:
        if self.exit_code() is None:
            self._terminal.attach(stdin, on_output, interrupt)
        else:
            on_output(self._terminal.output(most=REPLAYED))
        return self.exit_code()

    def resize(self, columns: int, rows: int) -> None:
        self._terminal.resize(columns, rows)

    def output(self, *, most: int) -> bytes:
        return self._terminal.output(most=most)

    def execute(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_seconds: float = 60.0) -> Outcome:
        """Run a program as the agent's user, in its tree and with its variables; raises `DeadlineExceeded`."""
        if self.exit_code() is not None:
            raise BottleFailed(
                f"the agent of {self.slug} has ended, and its container with it",
                hint=f"'claude-bottle export {self.slug}' still copies out its tree",
            )
        words = ["exec", "--interactive", self._names.container, AS_AGENT]
        words += ["/bin/sh", "-c", _WITH_DEADLINE, f"{deadline_seconds:g}", *argv]
        started = time.monotonic()
        output = GuestOutput(argv[0])
        done = self._engine.run(
            words, stdin=stdin, deadline_seconds=deadline_seconds + _GRACE, on_stdout=output.take, check=False
        )
        if done.exit_code in _TIMED_OUT and time.monotonic() - started >= deadline_seconds:
            raise DeadlineExceeded(f"{argv[0]} did not end within {deadline_seconds:g} s in the bottle")
        return Outcome(done.exit_code, output.content, done.stderr)

    def read_home(self, path: str, *, most: int, deadline_seconds: float = HOME_SECONDS) -> bytes | None:
        """Return a file below the home; docker packs it, so no program of the container runs for that."""
        where = f"{self._names.container}:{self.guest.home}/{path}"
        output = GuestOutput(f"~/{path}", most + _ARCHIVE_BYTES)
        found = self._engine.run(
            ["cp", where, "-"], on_stdout=output.take, check=False, deadline_seconds=deadline_seconds
        )
        if found.exit_code != 0:
            said = found.stderr[-_SHOWN:].decode(errors="replace").strip()
            if any(words in said.lower() for words in _NOT_THERE):
                return None
            raise BottleFailed(f"~/{path} could not be read: {said}")
        return packed_file(output.content, path, most)

    def diff(self, *, binary: bool = False) -> TreeDiff:
        return self._tree.diff(binary=binary)

    def export(self, path: str, target: Path, *, overwrite: bool = False) -> Sequence[str]:
        return self._tree.export(path, target, overwrite=overwrite)

    def network_log(self, *, limit: int) -> list[Mapping[str, object]]:
        return list(read_network_log(self._names.network_log, limit=limit))

    def ends_at(self) -> float:
        return container.ends_at(self._names.deadline)

    def live_until(self, moment: float) -> None:
        container.end_at(self._names.deadline, moment)

    def stop(self) -> None:
        remove(self._engine, self._names)
