"""The client of the guest's session program: guest/session.c, as guest/SESSIONS.md defines it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Literal, Protocol

from pyro_mcp.engine import Command, Outcome, OutputSink
from pyro_mcp.errors import Conflict, GuestFailed, InvalidRequest, NotFound, ProtocolViolation

MACHINE_PROGRAM = ("/session", "--machine", "/sessions")
"""The session program of a machine, and the folder of its sessions."""
_DEADLINE, _PROBE_DEADLINE = 30.0, 5.0
_FOR_EVER_MS = 2**40
_LARGEST_READ = 1024 * 1024
_LARGEST_ANSWER = _LARGEST_READ + 4096
_SIDE, _MOST_KEPT, _MOST_SESSIONS = 1000, 64 * 1024 * 1024, 64

Kind = Literal["terminal", "pipes"]


@dataclass(frozen=True)
class SessionStatus:
    """The status of a session; positions count the bytes of each stream since it began.

    `exit_code` is None while it runs; `first` is from where bytes are still kept, `end` how many there were in all.
    """

    exit_code: int | None
    pid: int
    started_at: float
    columns: int
    rows: int
    start: int
    first: tuple[int, int]
    end: tuple[int, int]


@dataclass(frozen=True)
class Program:
    """What a session runs: `capacity` bytes of each of its streams are kept."""

    argv: Sequence[str]
    cwd: str
    environ: Mapping[str, str]
    capacity: int
    columns: int = 80
    rows: int = 24


class CommandRunner(Protocol):
    """A way to run commands in a guest; `run` raises `Interrupted` when a command's `interrupt` is readable."""

    def run(self, command: Command) -> Outcome: ...


class SessionClient:
    """The sessions of one guest, over one connection to it.

    `program` is the command line of the session program up to its verb: a backend that copies `session_binary()` into
    its guest names that copy and a private folder. Methods raise `NotFound` for a session that is not there, and
    `Conflict` when its state forbids what is asked.
    """

    def __init__(self, connection: CommandRunner, *, program: Sequence[str] = MACHINE_PROGRAM) -> None:
        self._connection = connection
        self._program = program

    def open(self, name: str, kind: Kind, program: Program) -> SessionStatus:
        """Start a program; raises `Conflict` for a name that is taken, `InvalidRequest` for what cannot be started."""
        words = [kind, program.cwd, str(program.columns), str(program.rows), str(program.capacity), *program.argv]
        return self._ask("open", name, *words, environ=program.environ)[0]

    def read(
        self,
        name: str,
        *,
        stream: int = 0,
        cursor: int = 0,
        most: int,
        idle_ms: int = 0,
        deadline_ms: int = 0,
        interrupt: int | None = None,
    ) -> tuple[SessionStatus, bytes]:
        """Return output from `cursor` on once none came for `idle_ms`, the program has ended, or `deadline_ms` is over.

        Bytes begin at the `start` of the answer. Raises `Interrupted` when `interrupt` becomes readable before.
        """
        numbers = (stream, cursor, most, idle_ms, deadline_ms)
        status, data = self._ask("read", name, *map(str, numbers), patience=deadline_ms / 1000, interrupt=interrupt)
        first, end = status.first[stream], status.end[stream]
        if status.start != min(max(cursor, first), end) or len(data) > min(most, end - status.start):
            raise ProtocolViolation("the supervisor of a session said something else than was asked for")
        return status, data

    def read_all(
        self,
        name: str,
        *,
        stream: int = 0,
        cursor: int,
        most: int,
        idle_ms: int = 0,
        deadline_ms: int = 0,
        interrupt: int | None = None,
    ) -> tuple[SessionStatus, bytes]:
        """Return output as `read` does, also more than one response can hold, as far as it is kept and contiguous."""
        status, data = self.read(
            name,
            stream=stream,
            cursor=cursor,
            most=min(_LARGEST_READ, most),
            idle_ms=idle_ms,
            deadline_ms=deadline_ms,
            interrupt=interrupt,
        )
        while len(data) < most and status.start + len(data) < status.end[stream]:
            place = status.start + len(data)
            now, more = self.read(name, stream=stream, cursor=place, most=min(_LARGEST_READ, most - len(data)))
            if now.end[stream] < status.end[stream] or len(data) > _MOST_KEPT:
                raise ProtocolViolation("the supervisor of a session contradicts itself")
            if now.start != place or not more:  # it was dropped meanwhile: what comes after it is another piece
                break
            data += more
        return status, data

    def wait(self, name: str, milliseconds: int) -> SessionStatus:
        """Wait for the program's end, at most this long."""
        quiet = max(1, milliseconds)
        return self.read(name, most=0, idle_ms=quiet, deadline_ms=quiet)[0]

    def write(self, name: str, data: bytes) -> SessionStatus:
        """Type into a terminal; raises `Conflict` when its program has ended, or reads nothing for 5 s."""
        return self._ask("write", name, stdin=data)[0]

    def signal(self, name: str, number: int) -> SessionStatus:
        return self._ask("signal", name, str(number))[0]

    def resize(self, name: str, columns: int, rows: int) -> SessionStatus:
        return self._ask("resize", name, str(columns), str(rows))[0]

    def stop(self, name: str, grace_seconds: float) -> SessionStatus:
        """End a program and all it started: SIGTERM first, SIGKILL after the grace period."""
        return self._ask("stop", name, str(round(grace_seconds * 1000)), patience=grace_seconds)[0]

    def forget(self, name: str) -> None:
        """Remove a session and its output; kill what still runs of it."""
        self._ask("forget", name)

    def status(self, name: str) -> SessionStatus:
        return self._ask("status", name)[0]

    def list(self) -> dict[str, SessionStatus]:
        """Return the status of every session by its name."""
        out = self._run(["list"])
        lines = [line.partition(b" ") for line in out.splitlines()[:_MOST_SESSIONS]]
        return {name.decode(errors="replace"): _parse_status(status) for name, _, status in lines}

    def attach(
        self, name: str, cursor: int, stdin: IO[bytes], on_stdout: OutputSink, interrupt: int | None = None
    ) -> None:
        """Connect a person's terminal to a session until `stdin` ends or the program does.

        Raises `Interrupted` when `interrupt` becomes readable; the connection is of no further use then.
        """
        command = Command(
            [*self._program, "attach", name, str(cursor)],
            cwd="/", is_guest_program=True, timeout_seconds=0, output_cap=0,
            stdin=stdin, on_stdout=on_stdout, interrupt=interrupt,
        )  # fmt: skip
        self._check(self._connection.run(command).exit_code, b"")

    @staticmethod
    def until_end(name: str) -> Command:
        """Return a command that ends when the program of this session does, and writes nothing before."""
        numbers = (0, 0, 0, _FOR_EVER_MS, _FOR_EVER_MS)
        words = [*MACHINE_PROGRAM, "read", name, *map(str, numbers)]
        return Command(words, cwd="/", is_guest_program=True, timeout_seconds=0)

    def listens(self, port: int) -> bool:
        """Return whether a program in the guest listens on this TCP port of its loopback."""
        return self._probe("tcp", str(port)).exit_code == 0

    def http_status(self, port: int, host: str, path: str) -> int:
        """Return the HTTP status of a GET of `path` on the guest's loopback; 0 for no response."""
        said = self._probe("http", str(port), host, path).stdout.strip()
        return int(said) if said.isdigit() and len(said) <= 3 else 0

    def _probe(self, *words: str) -> Outcome:
        command = Command(
            [self._program[0], "probe", *words], cwd="/", is_guest_program=True, timeout_seconds=_PROBE_DEADLINE
        )
        return self._connection.run(command)

    def _ask(
        self,
        verb: str,
        name: str,
        *words: str,
        stdin: bytes | None = None,
        environ: Mapping[str, str] | None = None,
        patience: float = 0.0,
        interrupt: int | None = None,
    ) -> tuple[SessionStatus, bytes]:
        out = self._run(
            [verb, name, *words], stdin=stdin, environ=environ or {}, patience=patience, interrupt=interrupt
        )
        status, _, rest = out.partition(b"\n")
        return _parse_status(status), rest

    def _run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes | None = None,
        environ: Mapping[str, str] | None = None,
        patience: float = 0.0,
        interrupt: int | None = None,
    ) -> bytes:
        command = Command(
            [*self._program, *words],
            cwd="/",
            is_guest_program=True,
            environ=environ or {},
            timeout_seconds=_DEADLINE + patience,
            stdin=stdin,
            output_cap=_LARGEST_ANSWER,
            interrupt=interrupt,
        )
        outcome = self._connection.run(command)
        self._check(outcome.exit_code, outcome.stderr)
        if outcome.truncated:
            raise ProtocolViolation("the supervisor of a session said more than was asked for")
        return outcome.stdout

    @staticmethod
    def _check(exit_code: int, stderr: bytes) -> None:
        said = stderr.decode(errors="replace").strip() or f"the guest's session program ended with {exit_code}"
        if exit_code == 0:
            return
        kinds = {2: NotFound, 3: Conflict, 4: InvalidRequest, 5: Conflict, 6: Conflict, 7: Conflict}
        kinds |= {126: InvalidRequest, 127: InvalidRequest}
        raise kinds.get(exit_code, GuestFailed)(said)


def _parse_status(line: bytes) -> SessionStatus:
    """Parse the status line of a supervisor; raise `ProtocolViolation` for anything else."""
    words = line.split()
    try:
        if len(words) != 11 or words[0] not in (b"ended", b"running") or any(len(word) > 20 for word in words):
            raise ValueError
        code, pid, started, columns, rows, start, first0, end0, first1, end1 = (int(word) for word in words[1:])
        spans = ((first0, end0), (first1, end1))
        if not (0 <= columns <= _SIDE and 0 <= rows <= _SIDE and 0 < pid < 2**31 and 0 <= code < 256):
            raise ValueError
        if not (0 <= started < 2**50 and 0 <= start < 2**62):
            raise ValueError
        if not all(0 <= first <= end < 2**62 and end - first <= _MOST_KEPT for first, end in spans):
            raise ValueError
    except ValueError:
        raise ProtocolViolation("the supervisor of a session sent something else than a status") from None
    ended = words[0] == b"ended"
    return SessionStatus(
        code if ended else None, pid, started / 1000, columns, rows, start, (first0, first1), (end0, end1)
    )
