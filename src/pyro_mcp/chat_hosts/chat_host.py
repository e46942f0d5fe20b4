"""What every chat host can do for us, and the table of those we know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from pyro_mcp.chat_hosts.server_entry import ServerEntry
from pyro_mcp.errors import HostCommandFailed, HostToolMissing, InvalidRequest
from pyro_mcp.hints import Hint, near_match
from pyro_mcp.host.process import run
from pyro_mcp.host.programs import find_program

_SECONDS = 60.0  # for a command of the host that reads or writes its settings


class Host(Protocol):
    """One chat host: how its list of MCP servers is read and changed."""

    title: str
    program: str
    install_hint: str

    def settings(self) -> Path:
        """Return the path of the settings file."""
        ...

    def read(self, name: str) -> ServerEntry | None:
        """Return the entry of that name; raise a `PyroError` if the settings cannot be read."""
        ...

    def hidden_by(self, name: str) -> str:
        """Return what overrides the entry in the working directory; empty for nothing."""
        ...

    def write(self, name: str, entry: ServerEntry) -> None:
        """Have `entry` in the list under a name that is free or ours; what else the user set in it stays."""
        ...

    def remove(self, name: str) -> None:
        """Have no entry of that name."""
        ...

    def allows(self, name: str) -> bool:
        """Return whether the chat host uses all tools of that server without asking its user."""
        ...

    def allow(self, name: str) -> None:
        """Have the host use all tools of that server without asking."""
        ...

    def disallow(self, name: str) -> None:
        """Undo `allow`."""
        ...

    def config(self, name: str, entry: ServerEntry) -> str:
        """Return the text that a person would add to the settings."""
        ...


_MODULES = {
    "claude-code": "pyro_mcp.chat_hosts.claude_code",
    "codex": "pyro_mcp.chat_hosts.codex",
    "opencode": "pyro_mcp.chat_hosts.opencode",
}
HOST_NAMES = tuple(_MODULES)


def host_named(name: str) -> Host:
    """Return the chat host of that name; raise `InvalidRequest` for an unknown one."""
    if name not in _MODULES:
        meant = near_match(name, _MODULES, cutoff=0.5)
        hint = Hint.joined(meant, f"known are {', '.join(_MODULES)}", separator=" ")
        raise InvalidRequest(f"unknown chat host {name!r}", hint=hint)
    host: Host = import_module(_MODULES[name]).HOST
    return host


def own_command(host: Host, words: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """Run the chat host's program with `words`; return its output. Raise `HostToolMissing` if it is not installed."""
    found = find_program(host.program)
    if found is None:
        raise HostToolMissing(f"the program {host.program} is not installed", hint=host.install_hint)
    argv = [str(found.absolute()), *words]
    return run(argv, deadline_seconds=_SECONDS, extra_environment=environment).stdout


def version_of(host: Host) -> str:
    """Return the version of the chat host's program; empty if it does not print one."""
    try:
        said = own_command(host, ["--version"], {}).decode(errors="replace")
    except HostCommandFailed:
        return ""
    return said.strip().splitlines()[-1] if said.strip() else ""
