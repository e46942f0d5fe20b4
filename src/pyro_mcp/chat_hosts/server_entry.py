"""What a chat host is told about us: the command that starts our server, and the folders it shall use."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyro_mcp.errors import HostNotReady

SERVE = ("mcp", "serve")
# Codex clears the environment of its servers, and a desktop may start any host without the shell's: a server that
# looked into other folders would not know the workspaces of the command line.
FOLDER_VARIABLES = ("XDG_CACHE_HOME", "XDG_STATE_HOME")


@dataclass(frozen=True)
class ServerEntry:
    """A server as a chat host knows it."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True

    def with_variables_of(self, other: ServerEntry | None) -> ServerEntry:
        """Return this entry with the variables that the user added to another entry."""
        added = {key: value for key, value in other.environment.items() if key not in FOLDER_VARIABLES} if other else {}
        return ServerEntry(self.command, {**added, **self.environment}, self.enabled)

    @property
    def folders(self) -> dict[str, str]:
        """Return the folder variables of the server; the user's own variables may hold secrets and are never shown."""
        return {key: value for key, value in self.environment.items() if key in FOLDER_VARIABLES}

    @property
    def program(self) -> tuple[str, ...] | None:
        """Return the words before `mcp serve` if that is pyro; None for another server."""
        at = next((at for at in range(1, len(self.command)) if self.command[at : at + 2] == SERVE), None)
        if at is None:
            return None
        program = self.command[:at]
        return program if Path(program[0]).name == "pyro" or {"pyro_mcp.cli", "pyro-mcp"} & set(program) else None

    @property
    def options(self) -> tuple[str, ...]:
        """Return the words after `mcp serve`."""
        return self.command[len(self.program) + len(SERVE) :] if self.program else ()


def own_entry(options: tuple[str, ...] = ()) -> ServerEntry:
    """Return the entry that starts this installation as a server, from any folder.

    Raises `HostNotReady` when it lies where it will not last.
    """
    environment = {name: os.environ[name] for name in FOLDER_VARIABLES if os.path.isabs(os.environ.get(name, ""))}
    return ServerEntry((*own_program(), *SERVE, *options), environment)


def own_program() -> tuple[str, ...]:
    """Return the absolute path of our `pyro`, or the interpreter and our module if no such script is installed."""
    python = Path(sys.executable)
    if "archive-v0" in python.parts or "builds-v0" in python.parts:
        raise HostNotReady(
            f"this pyro lies in uv's cache, from where it may be removed at any time: {python.parent}",
            hint="install it to stay, with 'uv tool install pyro-mcp', and connect with that pyro",
        )
    script = python.parent / "pyro"
    return (str(script),) if os.access(script, os.X_OK) else (str(python), "-m", "pyro_mcp.cli")
