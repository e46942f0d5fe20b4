"""A connection to the agent in one running machine."""

from __future__ import annotations

import math
import os
import secrets
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pyro_mcp.engine.command_input import CommandInput
from pyro_mcp.engine.interface import Command, Outcome, OutputSink
from pyro_mcp.errors import DeadlineExceeded, GuestFailed, GuestGone, Interrupted, InvalidRequest, ProtocolViolation
from pyro_mcp.guest_protocol import frames
from pyro_mcp.guest_protocol.frames import Frame, Tag, Type
from pyro_mcp.hints import Hint, Verb

REPLY_GRACE_SECONDS = 15.0
"""How much longer than its own time limit a request may take to be answered."""
# Seconds without a frame from the guest after which `on_silence` is called.
_SILENCE = 2.0
# During a guest program the agent sends ALIVE every half second, so silence means that the guest does not run.
_TOOL_SILENCE = 15.0
UNRESPONSIVE = Hint.joined(
    Hint("{} starts it again", Verb("workspace reset")), Hint("{} ends it", Verb("workspace stop", force=True))
)
_CHUNK = 256 * 1024


class Capture:
    """The first `cap` bytes of a stream and the count of all; each piece is passed to `sink`."""

    def __init__(self, cap: int, sink: OutputSink | None) -> None:
        self._cap = cap
        self._sink = sink
        self._kept = bytearray()
        self.total = 0

    def take(self, data: bytes) -> None:
        self._kept += data[: max(0, self._cap - len(self._kept))]
        self.total += len(data)
        if self._sink is not None and data:
            self._sink(data)

    def kept(self) -> bytes:
        return bytes(self._kept)


class GuestConnection:
    """One client's connection to the agent; requests run one after another.

    Get one from `slots.connected`. Every method raises `GuestGone` when the machine ends meanwhile, `GuestFailed` when
    the agent refuses, `ProtocolViolation` when it misbehaves, `DeadlineExceeded` when it stays silent.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        slot: int = -1,
        resync: bool = False,
        on_silence: Callable[[], bool] = lambda: False,
    ) -> None:
        self._slot = slot
        self._on_silence = on_silence
        nonce = secrets.token_bytes(frames.NONCE_SIZE)
        self._socket = connection
        self._socket.setblocking(False)
        self._decoder = frames.Decoder(nonce)
        self._arrived: deque[Frame] = deque()
        self._outgoing = bytearray(frames.RESYNC if resync else b"")
        self._outgoing += frames.SYNC
        self._outgoing += frames.encode_fields(Type.HELLO, [(Tag.NONCE, nonce), (Tag.VERSION, frames.VERSION)])
        self._welcomed = False
        self._heard_at = self._told_at = time.monotonic()
        self._patience = math.inf
        self.is_detached = False
        """Whether a detached command holds this connection, so that it does not end between two frames."""

    def hello(self, *, deadline_seconds: float) -> str:
        """Wait for WELCOME and return the agent's build. Other requests do this on their own."""
        end = time.monotonic() + deadline_seconds
        welcome = self._expect(Type.WELCOME, end)
        self._welcomed = True
        return welcome.text(Tag.BUILD)

    def setup(
        self,
        *,
        hostname: str,
        files: Mapping[str, tuple[int, bytes]],
        generation: int = 0,
        deadline_seconds: float = REPLY_GRACE_SECONDS,
    ) -> None:
        """Send SETUP: give a resumed machine its clock, entropy, host name and disks. Works once per machine start.

        `files` (guest path → mode, content) are written before the first command. A new `generation` begins with /
        as the environment has it; /workspace stays as the disk holds it.
        """
        fields: list[tuple[Tag, bytes | int]] = [
            (Tag.CLOCK, time.time_ns()),
            (Tag.ENTROPY, secrets.token_bytes(64)),
            (Tag.HOSTNAME, hostname.encode()),
            (Tag.GENERATION, generation),
        ]
        for path, (mode, content) in files.items():
            fields.append((Tag.FILE, b"%b\0%o\0%b" % (path.encode(), mode, content)))
        self._request(frames.encode_fields(Type.SETUP, fields), deadline_seconds)

    def flush(
        self,
        *,
        deadline_seconds: float = 60.0,
        silence_seconds: float = math.inf,
        pause: bool = False,
        on_unwritten: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Return when everything written so far is on the virtual disks.

        A guest that sends nothing for `silence_seconds` is an error. With `pause` all its processes are stopped until
        this connection ends. `on_unwritten` gets the number of bytes that wait to be written, about twice a second.
        """
        with self._impatient(silence_seconds):
            fields: list[tuple[Tag, bytes | int]] = [(Tag.PAUSE, int(pause))]
            self._request(frames.encode_fields(Type.FLUSH, fields), deadline_seconds, on_unwritten)

    def power_off(self, *, deadline_seconds: float = REPLY_GRACE_SECONDS) -> None:
        """Ask the machine to power off; return when it has agreed. Flush before."""
        self._request(frames.encode(Type.POWEROFF), deadline_seconds)

    def run(self, command: Command) -> Outcome:
        """Run one command to its end; a command that fails is an `Outcome`, not an error."""
        with self._impatient(_TOOL_SILENCE if command.is_guest_program else math.inf):
            return self._run(command)

    def _run(self, command: Command) -> Outcome:
        started = time.monotonic()
        end = started + command.timeout_seconds + REPLY_GRACE_SECONDS if command.timeout_seconds else float("inf")
        source = CommandInput(command.stdin)
        self._outgoing += encode_exec(command, tells_alive=command.is_guest_program)
        stdout = Capture(command.output_cap, command.on_stdout)
        stderr = Capture(command.output_cap, command.on_stderr)
        while True:
            frame = self._next(end, source, command.interrupt)
            if frame.type == Type.STDOUT:
                stdout.take(frame.payload)
            elif frame.type == Type.STDERR:
                stderr.take(frame.payload)
            elif frame.type == Type.TAKEN:
                source.taken(frame.number(Tag.NUMBER))
            elif frame.type == Type.EXIT:
                break
            elif frame.type == Type.ERROR:
                raise InvalidRequest(f"the guest cannot run the command: {frame.text(Tag.TEXT)}")
            elif frame.type not in (Type.STARTED, Type.WELCOME, Type.ALIVE):
                raise ProtocolViolation(f"the guest answered a command with a frame of type {frame.type}")
        return _outcome(frame, stdout, stderr, time.monotonic() - started)

    def run_detached(self, command: Command) -> tuple[int, int]:
        """Start a command and return while it runs; the connection cannot be used for anything else afterwards.

        Returns two descriptors. The command runs as long as any process holds copies of both; the first becomes
        readable when the command has written something or has ended.
        """
        end = time.monotonic() + REPLY_GRACE_SECONDS
        self._outgoing += encode_exec(command)
        while (frame := self._next(end)).type != Type.STARTED:
            if frame.type != Type.WELCOME:
                raise GuestFailed("the guest did not start a detached command")
        self.is_detached = True
        if self._arrived:  # it has ended already, and nothing more may come
            self._socket.shutdown(socket.SHUT_RD)
        return self._socket.fileno(), self._slot

    def _request(
        self, frame: bytes, deadline_seconds: float, on_unwritten: Callable[[int], None] = lambda _: None
    ) -> None:
        self._outgoing += frame
        end = time.monotonic() + deadline_seconds
        if not self._welcomed:
            self.hello(deadline_seconds=deadline_seconds)
        self._expect(Type.OK, end, on_unwritten)

    @contextmanager
    def _impatient(self, seconds: float) -> Iterator[None]:
        """Within the block, raise `DeadlineExceeded` when the guest sends nothing for `seconds`."""
        self._heard_at = self._told_at = time.monotonic()
        self._patience = seconds
        try:
            yield
        finally:
            self._patience = math.inf

    def _expect(self, type_: Type, end: float, on_unwritten: Callable[[int], None] = lambda _: None) -> Frame:
        while (frame := self._next(end)).type == Type.ALIVE:
            on_unwritten(frame.number(Tag.NUMBER) * 1024)
        if frame.type == Type.ERROR:
            raise GuestFailed(f"the guest refused: {frame.text(Tag.TEXT)}")
        if frame.type != type_:
            raise ProtocolViolation(f"the guest sent a frame of type {frame.type} where {type_.name} was due")
        return frame

    def _next(self, end: float, source: CommandInput | None = None, interrupt: int | None = None) -> Frame:
        """Return the next frame; meanwhile send what is queued and, within its window, `source`."""
        while not self._arrived:
            self._turn(end, source, interrupt)
        frame = self._arrived.popleft()
        if frame.type != Type.ALIVE:
            self._told_at = time.monotonic()
        if frame.type == Type.WELCOME:
            self._welcomed = True
        return frame

    def _turn(self, end: float, source: CommandInput | None, interrupt: int | None = None) -> None:
        """Wait until the connection or the input is ready, then send, receive or read once."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        if interrupt is not None:
            poll.register(interrupt, select.POLLIN)
        reads_source = source is not None and source.available > 0 and not self._outgoing
        if source is not None and reads_source:
            if source.fd is None:
                self._outgoing += source.read()
                return
            poll.register(source.fd, select.POLLIN)
        left = end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the guest did not answer in time")
        quiet = self._heard_at + self._patience - time.monotonic()
        if quiet <= 0:
            raise DeadlineExceeded(f"the guest has said nothing for {self._patience:g} s", hint=UNRESPONSIVE)
        # Half of the silence limit, so that `on_silence` can find the reason before it ends.
        ready = poll.poll(min(left, quiet, max(self._patience / 2, 0.1), _SILENCE) * 1000)
        self._notice_silence(is_quiet=not ready)
        for fd, events in ready:
            if fd == interrupt:
                raise Interrupted("the command was interrupted, and killed")
            if source is not None and fd == source.fd:
                self._outgoing += source.read()
                continue
            if events & select.POLLOUT:
                self._send()
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._receive()

    def _notice_silence(self, *, is_quiet: bool) -> None:
        """Call `on_silence` for a guest that is quiet, or only says that it is alive: it may wait for the host."""
        now = time.monotonic()
        if is_quiet or now - self._told_at > _SILENCE:
            self._told_at = now
            if self._on_silence():
                self._heard_at = time.monotonic()

    def _send(self) -> None:
        try:
            sent = self._socket.send(self._outgoing)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _gone() from error
        del self._outgoing[:sent]

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            raise _gone()
        self._heard_at = time.monotonic()
        self._arrived.extend(self._decoder.feed(data))


def _gone() -> GuestGone:
    return GuestGone(
        "the virtual machine ended during a request",
        hint="start it again, which keeps what its disk holds, or reset it",
    )


def encode_exec(command: Command, *, tells_alive: bool = False) -> bytes:
    """Return the EXEC frame for `command`. Raises `InvalidRequest` for arguments that no program can be given.

    With `tells_alive` the agent sends ALIVE every half second.
    """
    try:
        arguments = [os.fsencode(word) for word in command.argv]
        variables = [os.fsencode(f"{name}={value}") for name, value in command.environ.items()]
        cwd = os.fsencode(command.cwd)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"a command, its directory and its environment are bytes or text: {error}") from error
    if not arguments or not arguments[0]:
        raise InvalidRequest("there is no command to run", hint="for example: git --version")
    if any(b"\0" in word for word in [*arguments, *variables, cwd]):
        raise InvalidRequest("a command, its directory and its environment cannot hold a NUL byte")
    if any(not name or "=" in name for name in command.environ):
        raise InvalidRequest("the name of an environment variable cannot be empty or hold '='")
    fields: list[tuple[Tag, bytes | int]] = [(Tag.ARG, word) for word in arguments]
    fields += [(Tag.ENV, variable) for variable in variables]
    # Rounded up: 0 would be no limit at all.
    fields += [(Tag.CWD, cwd), (Tag.TIMEOUT_MS, math.ceil(command.timeout_seconds * 1000))]
    fields += [
        (Tag.STDIN, int(command.stdin is not None)),
        (Tag.TOOL, int(command.is_guest_program)),
        (Tag.ALIVE, int(tells_alive)),
    ]
    try:
        return frames.encode_fields(Type.EXEC, fields)
    except ValueError as error:
        raise InvalidRequest("the command and its environment are larger than 1 MiB together") from error


def _outcome(frame: Frame, stdout: Capture, stderr: Capture, seconds: float) -> Outcome:
    timed_out = frame.number(Tag.TIMED_OUT) == 1
    if reason := frame.text(Tag.TEXT):
        shown = "".join(one if one.isprintable() else "?" for one in reason)
        stderr.take(f"pyro: {shown}\n".encode())
    return Outcome(
        exit_code=124 if timed_out else frame.number(Tag.NUMBER) & 0xFF,
        stdout=stdout.kept(),
        stderr=stderr.kept(),
        stdout_bytes=stdout.total,
        stderr_bytes=stderr.total,
        timed_out=timed_out,
        signal=frame.number(Tag.SIGNALLED) or None,
        duration_ms=seconds * 1000,
    )
