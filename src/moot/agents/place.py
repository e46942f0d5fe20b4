"""Where one agent runs: its paths as its own programs see them, its files, and how commands are run there."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyro_mcp.errors import own_errors
from pyro_mcp.host.process import Completed, run


@dataclass(frozen=True, kw_only=True)
class AgentPlace:
    """The paths of one agent as its own programs see them; in a container they differ from the host's."""

    role: str
    project: str
    """The folder of moot.toml and `.moot` in the main worktree."""
    tree: str
    """The worktree of the role, where the agent works."""
    run_folder: str
    """`.moot/run/ROLE` of the project: the state, the mailbox and the settings of the launch."""
    home: str
    python: str
    """A Python that has this package."""


class PlaceFiles(Protocol):
    """The files of a place."""

    def read(self, path: str) -> str | None:
        """Return the text of a file, None when there is none."""

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Write a file, whole or not at all; make its folder (mode 0700) when it is missing."""

    def make_lock(self, path: str, stale_seconds: int) -> bool:
        """Make a folder that is a lock, and its parents; return False while somebody else holds it.

        A lock that has not been renewed for `stale_seconds` is of a program that was killed, and is taken over.
        """

    def remove_lock(self, path: str) -> None:
        """Remove a folder that `make_lock` has made."""


class Commands(Protocol):
    """How programs are run in a place."""

    environment: Mapping[str, str]
    """Variables that the command line needs on this host."""

    def argv(self, words: Sequence[str], *, terminal: bool = False) -> list[str]:
        """Return the command line of this host that runs `words` there; with `terminal`, in our terminal."""


class HostCommands:
    """Programs of this host."""

    environment: Mapping[str, str] = {}

    def argv(self, words: Sequence[str], *, terminal: bool = False) -> list[str]:
        return list(words)


def run_there(
    commands: Commands,
    words: Sequence[str],
    *,
    stdin: bytes | None = None,
    deadline_seconds: float = 30,
    check: bool = True,
) -> Completed:
    """Run a program in a place to its end; see `pyro_mcp.host.process.run`."""
    return run(
        commands.argv(words),
        stdin=stdin,
        deadline_seconds=deadline_seconds,
        extra_environment=commands.environment,
        check=check,
    )


class HostFiles:
    """Files of this host."""

    def read(self, path: str) -> str | None:
        with own_errors():
            try:
                return Path(path).read_text(errors="replace")
            except FileNotFoundError:
                return None

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        target = Path(path)
        if ".moot" not in target.parts:
            target = target.resolve()  # a user's settings file may be a link into a folder under version control
        with own_errors():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
            try:
                scratch.touch(mode=mode, exist_ok=False)
                scratch.write_text(text)
                scratch.replace(target)
            finally:
                scratch.unlink(missing_ok=True)

    def make_lock(self, path: str, stale_seconds: int) -> bool:
        lock = Path(path)
        with own_errors():
            lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                if time.time() - lock.stat().st_mtime > stale_seconds:
                    lock.rmdir()
            except FileNotFoundError:
                pass
            try:
                lock.mkdir(mode=0o700)
            except FileExistsError:
                return False
            return True

    def remove_lock(self, path: str) -> None:
        with own_errors(), suppress(FileNotFoundError):
            Path(path).rmdir()
