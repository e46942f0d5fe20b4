"""A launched bottle in a machine of smolvm."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from claude_bottle.backend.export_remarks import export_remarks
from claude_bottle.backend.home_file import read_home
from claude_bottle.backend.interface import HOME_SECONDS, TREE, Guest, Outcome, TreeDiff
from claude_bottle.backend.smolmachines import smolvm
from claude_bottle.backend.smolmachines.guest import SmolGuest
from claude_bottle.backend.smolmachines.programs import AGENT, MachineRunner, sessions, tree
from claude_bottle.errors import BottleFailed
from pyro_mcp.errors import Conflict, DeadlineExceeded, Interrupted, NotFound
from pyro_mcp.host.files import private_directory, write_atomic
from pyro_mcp.network import read_network_log
from pyro_mcp.sessions import Command
from pyro_mcp.trees import diff, export

PREFIX = "claude-bottle-"
"""The prefix of the names of bottles' machines; the slug follows."""
_KILLED = 128 + 9
_REPLAYED = 64 * 1024
_MOST_OUTPUT = 16 * 1024 * 1024


def machine_name(slug: str) -> str:
    """Return the name of a bottle's machine."""
    return PREFIX + slug


def network_log_path(stage_dir: Path) -> Path:
    """Return the file that the gateway logs connections to."""
    return stage_dir / "gateway" / "network.log"


def keep_environ(stage_dir: Path, environ: Mapping[str, str]) -> None:
    """Store the agent's variables, secrets as placeholders, for later commands in the bottle."""
    write_atomic(stage_dir / "environ.json", json.dumps(dict(environ)))


class SmolBottle:
    """The machine of a bottle, and the session that is its agent's terminal."""

    def __init__(self, slug: str, stage_dir: Path) -> None:
        self.slug = slug
        self._name, self._stage = machine_name(slug), stage_dir
        self.guest: Guest = SmolGuest(smolvm, self._name)

    def exit_code(self) -> int | None:
        """Return the exit code of the agent, None while it runs; 137 when its machine has ended first."""
        if smolvm.machines().get(self._name) is None:
            return _KILLED
        return sessions(self._name).status(AGENT).exit_code

    def attach(
        self, stdin: BinaryIO, on_output: Callable[[bytes], None], *, interrupt: int | None = None
    ) -> int | None:
        client = sessions(self._name)
        status = client.status(AGENT)
        with suppress(Interrupted):
            client.attach(AGENT, max(status.first[0], status.end[0] - _REPLAYED), stdin, on_output, interrupt)
        return self.exit_code()

    def resize(self, columns: int, rows: int) -> None:
        sessions(self._name).resize(AGENT, columns, rows)

    def output(self, *, most: int) -> bytes:
        client = sessions(self._name)
        status = client.status(AGENT)
        return client.read_all(AGENT, cursor=max(status.first[0], status.end[0] - most), most=most)[1]

    def execute(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_seconds: float = 60.0) -> Outcome:
        environ = json.loads((self._stage / "environ.json").read_text())
        command = Command(
            list(argv),
            cwd=TREE,
            environ=environ,
            stdin=stdin,
            timeout_seconds=deadline_seconds,
            output_cap=_MOST_OUTPUT,
        )
        try:
            done = MachineRunner(self._name).run(command)
        except DeadlineExceeded as error:
            raise BottleFailed(f"{argv[0]} did not end within {deadline_seconds:g} s in the bottle") from error
        return Outcome(done.exit_code, done.stdout, done.stderr)

    def read_home(self, path: str, *, most: int, deadline_seconds: float = HOME_SECONDS) -> bytes | None:
        return read_home(self.execute, path, most, deadline_seconds)

    def diff(self, *, binary: bool = False) -> TreeDiff:
        return TreeDiff.of(diff(tree(self._name), binary=binary))

    def export(self, path: str, target: Path, *, overwrite: bool = False) -> Sequence[str]:
        state = private_directory(self._stage / "exports")
        return export_remarks(export(tree(self._name), path or TREE, target, state=state, overwrite=overwrite))

    def network_log(self, *, limit: int) -> list[Mapping[str, object]]:
        return [dict(entry) for entry in read_network_log(network_log_path(self._stage), limit=limit)]

    def ends_at(self) -> float:
        raise Conflict("the lifetime of this bottle has no end")

    def live_until(self, moment: float) -> None:
        raise Conflict("the lifetime of this bottle has no end")

    def stop(self) -> None:
        """Remove the machine; its gateway ends with it."""
        if self._name in smolvm.machines():
            smolvm.machine_rm(self._name)


def found(slug: str, stage_dir: Path) -> SmolBottle:
    """Return the bottle with this slug; raises `NotFound`."""
    if machine_name(slug) not in smolvm.machines():
        raise NotFound(f"smolvm has no machine of the bottle {slug!r}")
    return SmolBottle(slug, stage_dir)
