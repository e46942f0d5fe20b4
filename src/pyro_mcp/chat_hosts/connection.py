"""Connect a chat host with this pyro, look after the connection, and undo it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from pyro_mcp.chat_hosts.chat_host import HOST_NAMES, Host, host_named, version_of
from pyro_mcp.chat_hosts.handshake import handshake
from pyro_mcp.chat_hosts.server_entry import FOLDER_VARIABLES, ServerEntry, own_entry
from pyro_mcp.errors import Conflict, HostNotReady, HostToolMissing, InvalidRequest, PyroError
from pyro_mcp.hints import Argument, Hint, Verb
from pyro_mcp.host.files import locked
from pyro_mcp.host.programs import find_program
from pyro_mcp.results import (
    ChatHostChange,
    ChatHostConfig,
    ChatHostDoctor,
    ChatHostOutcome,
    ChatHostProblem,
    ChatHostProblemCode,
    ChatHostReport,
    ChatHostServer,
    ChatHostStatus,
)
from pyro_mcp.serving import ServeOptions

_ALONE_SECONDS = 120.0
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def connect(
    host: str, name: str = "pyro", options: ServeOptions | None = None, *, allow: bool = False
) -> ChatHostChange:
    """Add our server to the host's settings, after a trial start.

    With `allow` the host uses its tools without asking.

    Nothing is written when the entry is there already. Raises `Conflict` when the name belongs to another server.
    """
    entry = own_entry(_for_models(options))
    return _written(host, name, lambda _before: entry, allow=allow)


def repair(host: str, name: str = "pyro") -> ChatHostChange:
    """Have the entry start this pyro, with the options that it had; one that is missing is made."""
    return _written(host, name, lambda before: own_entry(before.options if before else ()))


def disconnect(host: str, name: str = "pyro") -> ChatHostChange:
    """Remove our server from the host's settings; one that is not there is no error.

    Raises `Conflict` when the name belongs to another server.
    """
    chat, before = host_named(host), host_named(host).read(_checked(name))
    if before is None:
        return _change(host, name, "absent", None)
    _refuse_strangers(host, name, before)
    with _alone(chat):
        chat.disallow(name)
        chat.remove(name)
    return _change(host, name, "removed", None)


def config(host: str, name: str = "pyro", options: ServeOptions | None = None) -> ChatHostConfig:
    """Return the text that a person would add to the chat host's settings; nothing is changed."""
    chat, entry = host_named(host), own_entry(_for_models(options))
    program = find_program(chat.program)
    return {
        "host": host,
        "program": str(program) if program else None,
        "settings": str(chat.settings()),
        "config": chat.config(_checked(name), entry),
    }


def doctor(name: str = "pyro") -> ChatHostDoctor:
    """Report each chat host's connection; every server that has an entry is really started."""
    reports = [_examined(host, _checked(name)) for host in HOST_NAMES]
    troubled = any(report["problems"] for report in reports)
    return {"ready": not troubled and any(report["status"] == "connected" for report in reports), "hosts": reports}


def _for_models(options: ServeOptions | None) -> tuple[str, ...]:
    """Return the options as words, with results as text unless another form was chosen.

    Claude Code and Codex show the model the data in place of the text where a result has both.
    """
    given = options or ServeOptions()
    return replace(given, results=given.results or "text").words()


def _written(
    host: str, name: str, wanted: Callable[[ServerEntry | None], ServerEntry], *, allow: bool = False
) -> ChatHostChange:
    chat, before = host_named(host), host_named(host).read(_checked(name))
    if before is not None:
        _refuse_strangers(host, name, before)
    entry = wanted(before).with_variables_of(before)
    greeting = handshake(entry.command, entry.environment)
    if entry == before and (not allow or chat.allows(name)):
        return _change(host, name, "unchanged", entry, len(greeting.tools))
    with _alone(chat):
        if chat.read(name) != before:
            raise Conflict(f"the entry {name} of {chat.title} has changed meanwhile", hint="try again")
        if entry != before:
            chat.write(name, entry)
        if allow:
            _allow(chat, name, before)
        if chat.read(name) != entry:
            raise Conflict(
                f"{chat.title} does not list what was written for it",
                hint=f"look at {chat.settings()}: another file may have the last word, or the entry may be disabled",
            )
    return _change(host, name, "replaced" if before else "added", entry, len(greeting.tools))


def _allow(chat: Host, name: str, before: ServerEntry | None) -> None:
    """Have the host use our tools without asking; where that cannot be written, the entry is as it was `before`."""
    try:
        if not chat.allows(name):
            chat.allow(name)
    except PyroError:
        if before is None:
            chat.remove(name)
        else:
            chat.write(name, before)
        raise


@contextmanager
def _alone(chat: Host) -> Iterator[None]:
    """Change a host's settings while no other pyro does; raises `Busy`."""
    settings = chat.settings().resolve()
    lock = settings.with_name(f".{settings.name}.pyro-lock")
    with ExitStack() as stack:
        try:
            settings.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(lock, deadline_seconds=_ALONE_SECONDS, what=f"the settings of {chat.title}"))
        except OSError as error:
            raise HostNotReady(f"cannot write beside {settings}: {error.strerror}", hint="make it writable") from error
        stack.callback(lock.unlink)
        yield


def _checked(name: str) -> str:
    if not name or set(name) - _NAME_LETTERS or name.startswith("-") or len(name) > 64:
        raise InvalidRequest(
            f"a host knows no server by the name {name!r}", hint="letters, digits, - and _ make a name"
        )
    return name


def _refuse_strangers(host: str, name: str, entry: ServerEntry) -> None:
    if entry.program is None:
        raise Conflict(
            f"{host} has another server by the name {name}: {_stranger(entry)}",
            hint=Hint("choose another name with {}", Argument("name")),
        )


def _stranger(entry: ServerEntry) -> str:
    """Return the command of another server without its arguments, which may hold secrets."""
    scheme, found, rest = entry.command[0].partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}" if found else scheme


def _change(
    host: str, name: str, outcome: ChatHostOutcome, entry: ServerEntry | None, tools: int | None = None
) -> ChatHostChange:
    return {
        "host": host,
        "name": name,
        "outcome": outcome,
        "settings": str(host_named(host).settings()),
        "command": list(entry.command) if entry else None,
        "environment": entry.folders if entry else {},
        "tool_count": tools,
        "allowed": entry is not None and host_named(host).allows(name),
    }


def _status(problems: list[ChatHostProblem], entry: ServerEntry | None, program: Path | None) -> ChatHostStatus:
    if problems:
        return "trouble"
    if entry is not None:
        return "connected"
    return "not-installed" if program is None else "not-connected"


def _examined(host: str, name: str) -> ChatHostReport:
    chat, problems = host_named(host), list[ChatHostProblem]()
    program = find_program(chat.program)
    server: ChatHostServer | None = None
    entry: ServerEntry | None = None
    version = ""
    try:
        version = version_of(chat) if program else ""
        entry = chat.read(name)
    except HostToolMissing as error:
        if chat.settings().exists():
            problems.append(_problem("host-missing", error.message, error.hint))
    except PyroError as error:
        problems.append(_problem("settings", error.message, error.hint))
    if entry is not None:
        problems += _drift(host, chat, name, entry, installed=program is not None)
        server = _greeted(host, name, entry, problems)
    return {
        "host": host,
        "title": chat.title,
        "program": str(program) if program else None,
        "version": version,
        "settings": str(chat.settings()),
        "name": name,
        "command": list(entry.command) if entry and entry.program else None,
        "environment": entry.folders if entry else {},
        "status": _status(problems, entry, program),
        "problems": problems,
        "server": server,
    }


def _drift(host: str, chat: Host, name: str, entry: ServerEntry, *, installed: bool) -> list[ChatHostProblem]:
    """Return the differences from the entry that `repair` would write, and what keeps the chat host from using it."""
    problems = []
    if not installed:
        problems.append(_problem("host-missing", f"the program {chat.program} is not installed", chat.install_hint))
    if entry.program is None:
        said = f"the name {name} belongs to another server: {_stranger(entry)}"
        return [*problems, _problem("other-server", said, Hint("{}", Verb("host connect", host=host, name="OTHER")))]
    mend = _repair(host, name)
    ours = own_entry()
    if entry.program != ours.program:
        said = f"the entry starts {' '.join(entry.program)}, and this is {' '.join(ours.program or ())}"
        problems.append(_problem("other-program", said, mend))
    for variable in FOLDER_VARIABLES:
        there, here = entry.environment.get(variable), ours.environment.get(variable)
        if there != here:
            said = f"{variable} is {there or 'not set'} in the entry and {here or 'not set'} here: other workspaces"
            problems.append(_problem("environment", said, mend))
    if not entry.enabled:
        problems.append(_problem("disabled", "the entry is disabled", mend))
    try:
        if hidden := chat.hidden_by(name):
            said = f"the entry is hidden by {hidden}"
            problems.append(_problem("hidden", said, "remove it, or make it as you want it"))
    except PyroError as error:  # a project's settings, which the host cannot read either
        problems.append(_problem("settings", error.message, error.hint))
    return problems


def _greeted(host: str, name: str, entry: ServerEntry, problems: list[ChatHostProblem]) -> ChatHostServer | None:
    """Start the entry's server and return what it reports; if it fails, add a problem and return None."""
    if entry.program is None:
        return None  # it belongs to somebody else: not ours to start
    mend = _repair(host, name)
    if not (os.access(entry.command[0], os.X_OK) and Path(entry.command[0]).is_file()):
        problems.append(_problem("program-missing", f"there is no program {entry.command[0]}", mend))
        return None
    try:
        greeting = handshake(entry.command, entry.environment)
    except PyroError as error:
        problems.append(_problem("server-dead", error.message, Hint.joined(error.hint, mend, separator="\n")))
        return None
    return {
        "name": greeting.name,
        "version": greeting.version,
        "tool_count": len(greeting.tools),
        "answered_ms": round(greeting.milliseconds, 1),
    }


def _repair(host: str, name: str) -> Hint:
    named = {} if name == "pyro" else {"name": name}
    return Hint("{}", Verb("host repair", host=host, **named))


def _problem(code: ChatHostProblemCode, message: str, hint: str) -> ChatHostProblem:
    return {"code": code, "message": message, "hint": hint}
