"""Probes that find out when a service is ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyro_mcp.engine import Command
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.sessions.client import SessionClient
from pyro_mcp.workspaces import OpenWorkspace

Probe = Callable[[OpenWorkspace], bool]
"""Looks once whether the service is ready; takes a few milliseconds, five seconds at most."""

_HERE = {"localhost", "127.0.0.1", "::1"}
_COMMAND_DEADLINE = 5.0
_FORMS = (
    '{"type": "file", "path": …}, {"type": "tcp", "port": …}, {"type": "http", "url": …, "status": 200} '
    'or {"type": "command", "command": …}'
)
_KEYS = {"file": {"path"}, "tcp": {"port"}, "http": {"url", "status"}, "command": {"command"}}


@dataclass(frozen=True)
class RunContext:
    """The folder and variables of a service; a command that probes it gets the same.

    `secret_env` names the variables that hold secrets.
    """

    cwd: str
    environ: Mapping[str, str]
    secret_env: tuple[str, ...] = ()


def probe_of(readiness: Mapping[str, object] | None, context: RunContext) -> Probe | None:
    """Return the probe for a requested readiness; None for a service that is ready as soon as it runs.

    Raises `InvalidRequest` for an invalid readiness.
    """
    if readiness is None:
        return None
    kind = readiness.get("type") if isinstance(readiness, Mapping) else None
    if not isinstance(kind, str) or kind not in _KEYS or not {*readiness} - {"type"} <= _KEYS[kind]:
        raise InvalidRequest("that is no readiness", hint=f"it is {_FORMS}")
    if kind == "file":
        return _file(_text(readiness, "path"), context)
    if kind == "tcp":
        port = check_port(readiness.get("port"), "the port of a readiness")
        return lambda workspace: SessionClient(workspace.connection).listens(port)
    if kind == "http":
        return _http(_text(readiness, "url"), readiness.get("status", 200))
    return _command(_text(readiness, "command"), context)


def check_port(port: object, what: str) -> int:
    """Return a valid TCP port; raise `InvalidRequest` for anything else."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise InvalidRequest(f"{what} is a number from 1 to 65535, not {port!r}")
    return port


def _file(path: str, context: RunContext) -> Probe:
    # Not as an argument of the shell's own: a path may begin with a dash or be called "=".
    words = ["/bin/sh", "-c", '[ -e "$1" ]', "sh", path if path.startswith("/") else f"./{path}"]
    return lambda workspace: _succeeds(workspace, words, context)


def _command(line: str, context: RunContext) -> Probe:
    return lambda workspace: _succeeds(workspace, ["/bin/sh", "-c", line], context)


def _succeeds(workspace: OpenWorkspace, words: list[str], context: RunContext) -> bool:
    command = Command(words, cwd=context.cwd, environ=context.environ, timeout_seconds=_COMMAND_DEADLINE, output_cap=0)
    return workspace.connection.run(command).exit_code == 0


def _http(url: str, status: object) -> Probe:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if parts.scheme != "http" or host not in _HERE or not url.isprintable() or " " in url:
        raise InvalidRequest(
            f"a service is asked for by http on its own machine, not by {url!r}",
            hint="for example http://127.0.0.1:8080/health",
        )
    if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
        raise InvalidRequest(f"the status of a readiness is a number from 100 to 599, not {status!r}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if len(path) > 2000:
        raise InvalidRequest("the path of a readiness is at most 2000 characters long")
    return lambda workspace: SessionClient(workspace.connection).http_status(port, parts.netloc, path) == status


def _text(readiness: Mapping[str, object], key: str) -> str:
    found = readiness.get(key)
    if not isinstance(found, str) or not found or "\0" in found:
        raise InvalidRequest(f"the readiness has no {key}", hint=f"it is {_FORMS}")
    return found
