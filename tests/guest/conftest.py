"""The guest's programs as black boxes: compiled and started on this host, the agent spoken to over socket pairs."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, Unpack

import pytest

from pyro_mcp.guest_protocol.frames import (
    INPUT_WINDOW,
    NONCE_SIZE,
    SYNC,
    VERSION,
    Decoder,
    Frame,
    Tag,
    Type,
    encode,
    encode_fields,
)
from tests.guest.tool import Tool

BUILD = Path(__file__).parents[2] / "guest" / "build"
DEADLINE = 20.0
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all"


class Options(TypedDict, total=False):
    """What a command gets besides its arguments."""

    env: Sequence[bytes]
    cwd: str | Path
    timeout_ms: int


@dataclass
class Outcome:
    """What a command came to: its output, and its EXIT frame (or the ERROR that came instead)."""

    last: Frame
    stdout: bytes = b""
    stderr: bytes = b""
    taken: int = 0

    @property
    def code(self) -> int:
        assert self.last.type == Type.EXIT, self.last
        return self.last.number(Tag.NUMBER)


@dataclass
class Connection:
    """One client of the agent; every wait ends after `DEADLINE`."""

    socket: socket.socket
    decoder: Decoder = field(default_factory=Decoder)
    frames: list[Frame] = field(default_factory=list)

    def greet(self, version: int = VERSION) -> Frame:
        nonce = os.urandom(NONCE_SIZE)
        self.decoder, self.frames = Decoder(nonce), []
        self.send(SYNC + encode_fields(Type.HELLO, [(Tag.NONCE, nonce), (Tag.VERSION, version)]))
        return self.receive()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, size: int = 1 << 20) -> Frame:
        while not self.frames:
            data = self.socket.recv(size)
            assert data, "the agent has closed the connection"
            self.frames += self.decoder.feed(data)
        return self.frames.pop(0)

    def expect(self, type_: Type) -> Frame:
        frame = self.receive()
        assert frame.type == type_, frame
        return frame

    def ask(self, type_: Type, *fields: tuple[Tag, bytes | int]) -> Frame:
        self.send(encode_fields(type_, fields))
        return self.receive()

    def start(self, *argv: str | bytes, stdin: bool = False, **options: Unpack[Options]) -> int:
        """Start a command; its pid."""
        self.send(exec_frame(*argv, stdin=stdin, **options))
        return self.expect(Type.STARTED).number(Tag.NUMBER)

    def finish(self, data: bytes | None = None) -> Outcome:
        """Feed `data` and the end of file (None: nothing) within the window, and collect until the command ended."""
        parts: dict[int, list[bytes]] = {Type.STDOUT: [], Type.STDERR: []}
        sent = taken = 0
        closed = data is None
        while True:
            while data is not None and sent < len(data) and sent - taken < INPUT_WINDOW:
                piece = data[sent : sent + min(INPUT_WINDOW - (sent - taken), 100_000)]
                self.send(encode(Type.INPUT, piece))
                sent += len(piece)
            if not closed and data is not None and sent == len(data):
                self.send(encode(Type.INPUT))
                closed = True
            frame = self.receive()
            if frame.type in parts:
                assert frame.payload
                parts[frame.type].append(frame.payload)
            elif frame.type == Type.TAKEN:
                taken += frame.number(Tag.NUMBER)
            else:
                return Outcome(frame, b"".join(parts[Type.STDOUT]), b"".join(parts[Type.STDERR]), taken)

    def run(self, *argv: str | bytes, stdin: bytes | None = None, **options: Unpack[Options]) -> Outcome:
        """Run a command to its end; or the `ERROR` with which it was refused."""
        self.send(exec_frame(*argv, stdin=stdin is not None, **options))
        first = self.receive()
        return Outcome(first) if first.type == Type.ERROR else self.finish(stdin)


def exec_frame(
    *argv: str | bytes,
    env: Sequence[bytes] = (b"PATH=/usr/bin:/bin",),
    cwd: str | Path = "/",
    timeout_ms: int = 0,
    stdin: bool = False,
) -> bytes:
    """A request to run `argv`, without the greeting."""
    fields: list[tuple[Tag, bytes | int]] = [(Tag.ARG, os.fsencode(word)) for word in argv]
    fields += [(Tag.ENV, variable) for variable in env]
    fields += [(Tag.CWD, os.fsencode(cwd)), (Tag.TIMEOUT_MS, timeout_ms), (Tag.STDIN, int(stdin))]
    return encode_fields(Type.EXEC, fields)


@dataclass
class Agent:
    """A running agent and one connection for each of its ports."""

    process: subprocess.Popen[bytes]
    connections: list[Connection]

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def children(self) -> str:
        return Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().strip()

    @property
    def peak_memory_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


@contextmanager
def running(binary: Path, connections: int) -> Iterator[Agent]:
    """An agent that serves so many connections; when the block ends they are closed, and the agent has to end."""
    with ExitStack() as stack:
        ends = [[stack.enter_context(end) for end in socket.socketpair()] for _ in range(connections)]
        theirs = [end[1].fileno() for end in ends]
        process = subprocess.Popen([binary, "--serve", *map(str, theirs)], pass_fds=theirs, stderr=subprocess.PIPE)
        try:
            for ours, other in ends:
                other.close()
                ours.settimeout(DEADLINE)
            yield Agent(process, [Connection(ours) for ours, _ in ends])
            stack.close()
            _, complaints = process.communicate(timeout=DEADLINE)
            assert (process.returncode, complaints) == (0, b"")
        finally:
            process.kill()
            process.communicate()


def error_number(frame: Frame) -> int:
    """The errno of an `ERROR`."""
    assert frame.type == Type.ERROR, frame
    return frame.number(Tag.NUMBER)


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that is not ours."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with open(watched):
        assert select.select([watched], [], [], DEADLINE)[0], f"process {pid} is still alive"


def compile_as_shipped(program: str, folder: Path) -> Path:
    """A program of guest/ as it goes into a machine."""
    subprocess.run([BUILD, program, folder / program], check=True, timeout=120)
    return folder / program


def compile_sanitized(program: str, folder: Path) -> Path:
    """A program of guest/ with the address and undefined behaviour sanitizers of gcc."""
    probe = ["gcc", *SANITIZE.split(), "-x", "c", "-", "-o", str(folder / "probe")]
    empty = b"int main(void) { return 0; }"
    if not shutil.which("gcc") or subprocess.run(probe, input=empty, check=False, timeout=60).returncode != 0:
        pytest.skip("gcc with its sanitizers is not installed")
    environment = os.environ | {"CC": "gcc", "CFLAGS": f"-g {SANITIZE}"}
    subprocess.run([BUILD, program, folder / program], env=environment, check=True, timeout=120)
    return folder / program


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent as it goes into a machine."""
    return compile_as_shipped("agent", tmp_path_factory.mktemp("agent"))


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent with gcc's sanitizers."""
    return compile_sanitized("agent", tmp_path_factory.mktemp("sanitized"))


@pytest.fixture(scope="session", params=[compile_as_shipped, compile_sanitized])
def tool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """The file tool, once as it goes into a machine and once with gcc's sanitizers."""
    return Tool(request.param("tool", tmp_path_factory.mktemp("tool")))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty tree for the file tool, with something outside it that no path may reach."""
    before = os.umask(0o022)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (tmp_path / "root").mkdir()
    yield tmp_path / "root"
    os.umask(before)


@pytest.fixture(params=["shipped", "sanitized"])
def start_agent(request: pytest.FixtureRequest) -> Iterator[Callable[..., Agent]]:
    """Starts agents: `start_agent(connections=1)`; none of the connections has said hello yet."""
    binary = request.getfixturevalue(request.param)
    with ExitStack() as stack:
        yield lambda connections=1: stack.enter_context(running(binary, connections))


@pytest.fixture
def agent(start_agent: Callable[..., Agent]) -> Agent:
    """An agent with one connection that has been greeted."""
    started = start_agent()
    assert started.connections[0].greet().type == Type.WELCOME
    return started


@pytest.fixture
def guest(agent: Agent) -> Connection:
    """A greeted connection to an agent."""
    return agent.connections[0]
