"""Shells: programs on a terminal in a workspace, which outlive every process of the host."""

from __future__ import annotations

import codecs
import re
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from pyro_mcp.engine import OutputSink
from pyro_mcp.errors import Conflict, Interrupted, InvalidRequest, NotFound
from pyro_mcp.machines import SecretEnv, shell_words
from pyro_mcp.redaction import Mask
from pyro_mcp.results import ShellClosed, ShellInfo, ShellList, ShellOpened, ShellRead, ShellSignalled, ShellWritten
from pyro_mcp.sessions.client import Program, SessionClient, SessionStatus
from pyro_mcp.terminal import plain
from pyro_mcp.workspaces import WorkspaceAccess

_CAPACITY = 1024 * 1024
_LARGEST_SIDE = 1000
_LONGEST_WAIT_MS = 30_000
_MOST_CHARS = 1024 * 1024
_LONGEST_CHARACTER = 4
_SHOWN_AT_FIRST = 64 * 1024
_GRACE_SECONDS = 1.0
# So much of what may be the beginning of a secret is shown while the terminal is idle: a prompt must not be held back.
_SHOWN_OF_A_SECRET = 3
_SHELLS = ("/bin/bash", "/bin/sh")
_PREFIX = "shell."
_ID = re.compile(r"shell-[0-9a-f]{12}")


@dataclass(frozen=True)
class _Window:
    """A part of a shell's output as it may be shown."""

    start: int
    next: int
    data: bytes
    cut: bool
    """Whether more could be shown than was asked for."""


class Shells:
    """The shells of the workspaces of one state folder."""

    def __init__(self, access: WorkspaceAccess) -> None:
        self._access = access

    def open(
        self,
        id_: str,
        *,
        command: str | Sequence[str] | None,
        cwd: str,
        cols: int,
        rows: int,
        secret_env: SecretEnv | None,
    ) -> ShellOpened:
        _check_size(cols, rows)
        programs = [[path] for path in _SHELLS] if command is None else [_words(command)]
        shell_id = f"shell-{secrets.token_hex(6)}"
        with self._access.open(id_) as workspace:
            folder = workspace.guest_path(cwd)
            given = workspace.secrets.environ(secret_env)
            environ = {**workspace.environ, "TERM": "xterm-256color", **given}
            client = SessionClient(workspace.connection)
            with workspace.mask.errors():
                status = _first_that_starts(
                    programs,
                    lambda words: client.open(
                        f"{_PREFIX}{shell_id}", "terminal", Program(words, folder, environ, _CAPACITY, cols, rows)
                    ),
                )
        self._access.note(workspace, "shell", {"action": "open", "shell_id": shell_id})
        return {**_info(id_, shell_id, status), "cwd": workspace.mask.text(folder), "secret_env": sorted(given)}

    def list(self, id_: str) -> ShellList:
        with self._access.open(id_) as workspace:
            found = SessionClient(workspace.connection).list()
        shells = [_info(id_, name.removeprefix(_PREFIX), status) for name, status in found.items() if _is_shell(name)]
        shells.sort(key=lambda shell: shell["started_at"])
        return {"workspace_id": id_, "count": len(shells), "shells": shells}

    def read(
        self,
        id_: str,
        shell_id: str,
        *,
        cursor: int,
        max_chars: int,
        as_plain: bool,
        wait_for_idle_ms: int | None,
        interrupt: int | None,
    ) -> ShellRead:
        if cursor < 0:
            raise InvalidRequest(f"a cursor counts bytes from 0, not {cursor}")
        if not 1 <= max_chars <= _MOST_CHARS:
            raise InvalidRequest(f"max_chars is from 1 to {_MOST_CHARS}, not {max_chars}")
        idle = wait_for_idle_ms or 0
        if not 0 <= idle <= _LONGEST_WAIT_MS:
            raise InvalidRequest(f"wait_for_idle_ms is from 0 to {_LONGEST_WAIT_MS}, not {idle}")
        with self._access.open(id_) as workspace:
            client, name, reach = SessionClient(workspace.connection), _name(shell_id), workspace.mask.reach
            with _named(shell_id):
                start, most = max(0, cursor - reach), 2 * reach + max_chars + _LONGEST_CHARACTER
                status, data = client.read_all(
                    name, cursor=start, most=most, idle_ms=idle, deadline_ms=_LONGEST_WAIT_MS, interrupt=interrupt
                )
                window = _window(workspace.mask, status, data, cursor, max_chars, idle=idle > 0)
                earlier, first = b"", _safe_start(workspace.mask, status)
                if as_plain and window.start > first:
                    earlier = client.read_all(name, cursor=first, most=window.start - first)[1]
        if as_plain:
            # Masked again: what is drawn may hold a secret that the bytes had in parts, with colours between them.
            shown = plain(window.data, status.columns or 80, status.rows or 24, workspace.mask.bytes(earlier))
            text = workspace.mask.text(shown)
        else:
            text = window.data.decode(errors="replace")
        dropped = max(0, first - cursor)
        return {
            **_info(id_, shell_id, status),
            "cursor": window.start,
            "next_cursor": window.next,
            "output": text,
            "plain": as_plain,
            "truncated": dropped > 0 or window.cut,
            "dropped_bytes": dropped,
        }

    def write(self, id_: str, shell_id: str, text: str, *, append_newline: bool) -> ShellWritten:
        data = (text + ("\n" if append_newline else "")).encode(errors="surrogateescape")
        with self._access.open(id_) as workspace, _named(shell_id):
            SessionClient(workspace.connection).write(_name(shell_id), data)
        return {
            "workspace_id": id_,
            "shell_id": shell_id,
            "input_bytes": len(data),
            "append_newline": append_newline,
        }

    def signal(self, id_: str, shell_id: str, signal_name: str) -> ShellSignalled:
        number = _signal_number(signal_name)
        with self._access.open(id_) as workspace, _named(shell_id):
            SessionClient(workspace.connection).signal(_name(shell_id), number)
        return {"workspace_id": id_, "shell_id": shell_id, "signal": number.name.removeprefix("SIG")}

    def resize(self, id_: str, shell_id: str, cols: int, rows: int) -> ShellInfo:
        _check_size(cols, rows)
        with self._access.open(id_) as workspace, _named(shell_id):
            return _info(id_, shell_id, SessionClient(workspace.connection).resize(_name(shell_id), cols, rows))

    def close(self, id_: str, shell_id: str) -> ShellClosed:
        with self._access.open(id_) as workspace, _named(shell_id):
            client = SessionClient(workspace.connection)
            status = client.stop(_name(shell_id), _GRACE_SECONDS)
            client.forget(_name(shell_id))
        self._access.note(workspace, "shell", {"action": "close", "shell_id": shell_id})
        return {**_info(id_, shell_id, status), "closed": True}

    def attach(
        self, id_: str, shell_id: str, stdin: IO[bytes], on_output: OutputSink, interrupt: int | None
    ) -> ShellInfo:
        name = _name(shell_id)
        with suppress(Interrupted), self._access.open(id_, long_running=True) as workspace, _named(shell_id):
            client, stream = SessionClient(workspace.connection), workspace.mask.stream()
            first = max(0, client.status(name).end[0] - _SHOWN_AT_FIRST)
            status, data = client.read_all(name, cursor=max(0, first - workspace.mask.reach), most=_CAPACITY)
            window = _window(workspace.mask, status, data, first, _CAPACITY, idle=False)
            on_output(window.data)
            client.attach(name, window.next, stdin, lambda data: on_output(stream.feed(data)), interrupt)
            on_output(stream.finish())
        with self._access.open(id_) as workspace, _named(shell_id):
            return _info(id_, shell_id, SessionClient(workspace.connection).status(name))


def _words(command: str | Sequence[str]) -> list[str]:
    words = shell_words(command)
    if not words:
        raise InvalidRequest("there is no command to run", hint="leave it out for a shell")
    return words


def _first_that_starts(programs: Sequence[list[str]], start: Callable[[list[str]], SessionStatus]) -> SessionStatus:
    for words in programs[:-1]:
        try:
            return start(words)
        except InvalidRequest as error:
            if words[0] not in error.message:
                raise  # the folder, not the program
    return start(programs[-1])


def _safe_start(mask: Mask, status: SessionStatus) -> int:
    """Return the first position that may be shown: just after dropped output, the rest of a secret may follow."""
    return min(status.end[0], status.first[0] + mask.reach) if status.first[0] else 0


def _window(mask: Mask, status: SessionStatus, data: bytes, cursor: int, most: int, *, idle: bool) -> _Window:
    """Return about `most` masked bytes from `cursor` on, which end neither within a character nor within a secret.

    A secret whose end has not been written waits for the next read.
    """
    at, end = max(cursor, _safe_start(mask, status)) - status.start, len(data)
    if status.exit_code is None and status.start + end == status.end[0]:
        end -= _unfinished_character(data)
        held = mask.held_from(data[:end]) if mask else end
        end = held if end - held > (_SHOWN_OF_A_SECRET if idle else 0) else end
    end = written = max(at, end)
    if at + most < end:
        end = _after_character(data, at + most)
        end = max([end, *(span.end for span in mask.spans(data[:written]) if span.start < end)]) if mask else end
    begin, shown = mask.onward(data[:end], at)
    return _Window(status.start + begin, status.start + end, shown, cut=end < written)


def _after_character(data: bytes, place: int) -> int:
    """Return the first position from `place` on that is not within a UTF-8 character."""
    end = place
    while end < min(len(data), place + _LONGEST_CHARACTER) and data[end] & 0xC0 == 0x80:
        end += 1
    return end


def _unfinished_character(data: bytes) -> int:
    """Count the bytes at the end that begin an incomplete UTF-8 character."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(data[-4:])
    return len(decoder.getstate()[0])


def _info(id_: str, shell_id: str, status: SessionStatus) -> ShellInfo:
    return {
        "workspace_id": id_,
        "shell_id": shell_id,
        "state": "running" if status.exit_code is None else "exited",
        "exit_code": status.exit_code,
        "cols": status.columns,
        "rows": status.rows,
        "started_at": status.started_at,
    }


@contextmanager
def _named(shell_id: str) -> Iterator[None]:
    """Replace internal session names in errors by the id of the shell."""
    try:
        yield
    except NotFound as error:
        raise NotFound(
            f"there is no shell {shell_id!r}", hint="shells end with a stop or reset of their workspace; open another"
        ) from error
    except Conflict as error:
        raise Conflict(f"{shell_id}: {error.message}", hint="read what it printed, or close it") from error


def _name(shell_id: str) -> str:
    if not _ID.fullmatch(shell_id):
        raise InvalidRequest(f"{shell_id!r} is not the id of a shell", hint="it is what opening a shell returned")
    return f"{_PREFIX}{shell_id}"


def _is_shell(name: str) -> bool:
    return name.startswith(_PREFIX) and _ID.fullmatch(name.removeprefix(_PREFIX)) is not None


def _check_size(cols: int, rows: int) -> None:
    if not (1 <= cols <= _LARGEST_SIDE and 1 <= rows <= _LARGEST_SIDE):
        raise InvalidRequest(f"a terminal has 1 to {_LARGEST_SIDE} columns and rows, not {cols} x {rows}")


def _signal_number(name: str) -> signal.Signals:
    wanted = name.upper().removeprefix("SIG")
    try:
        return signal.Signals[f"SIG{wanted}"]
    except KeyError:
        raise InvalidRequest(
            f"there is no signal {name!r}", hint="for example INT, TERM, HUP, QUIT, KILL, TSTP, CONT, WINCH"
        ) from None
