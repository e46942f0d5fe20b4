"""A bottle of the fake backend."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from claude_bottle.backend.fake.supervisor import HEADER, REPLAYED, SIZE
from claude_bottle.backend.home_file import read_home
from claude_bottle.backend.interface import HOME_SECONDS, Outcome, TreeDiff
from claude_bottle.errors import BottleFailed
from pyro_mcp.errors import Conflict, DeadlineExceeded, InvalidRequest, PyroError
from pyro_mcp.host.process import run
from pyro_mcp.host.process_identity import Identity, identify, kill

_START_SECONDS = 30.0
_END_SECONDS = 10.0
_KILLED = 137


@dataclass
class FakeGuest:
    """The home of the agent, a folder of this host: paths are the host's own."""

    home: str

    def copy_in(self, source: str, target: str) -> None:
        run(["cp", "-rT", "--", source, target], deadline_seconds=60)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> bytes:
        try:
            return run(argv, deadline_seconds=60, stdin=stdin).stdout
        except PyroError as error:
            raise BottleFailed(error.message) from error


class FakeBottle:
    """An agent whose home, tree and supervisor files are in the folder `stage`."""

    def __init__(self, slug: str, stage: Path) -> None:
        self.slug, self._stage = slug, stage
        self.guest = FakeGuest(str(stage / "home"))

    @property
    def tree(self) -> Path:
        """The folder that the agent works in."""
        return self._stage / "tree"

    def start(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start the agent."""
        agent = {"argv": list(argv), "environ": dict(environ), "folder": str(self.tree)}
        (self._stage / "agent.json").write_text(json.dumps(agent))
        command = [sys.executable, "-m", "claude_bottle.backend.fake.supervisor", str(self._stage)]
        run(command, deadline_seconds=_START_SECONDS)

    def exit_code(self) -> int | None:
        supervisor = self._supervisor()  # looked up first: it writes the exit code just before it ends
        with suppress(FileNotFoundError):
            return int((self._stage / "exit").read_text())
        return None if supervisor else _KILLED

    def attach(
        self, stdin: BinaryIO, on_output: Callable[[bytes], None], *, interrupt: int | None = None
    ) -> int | None:
        heard = False

        def hear(piece: bytes) -> None:
            nonlocal heard
            heard = True
            on_output(piece)

        if self.exit_code() is None and not self._pass_on(stdin, hear, interrupt):
            return self.exit_code()
        code = self._wait()
        # A supervisor whose agent has ended accepts no connection any more; what was written is in its file.
        if not heard and (written := self.output(most=REPLAYED)):
            on_output(written)
        return code

    def _pass_on(self, stdin: BinaryIO, on_output: Callable[[bytes], None], interrupt: int | None) -> bool:
        """Pass bytes on until somebody leaves or the agent has ended; return whether it has ended."""
        with ExitStack() as stack:
            try:
                agent = stack.enter_context(self._connected())
            except Conflict:
                return True
            watched = [agent.fileno(), stdin.fileno(), *([] if interrupt is None else [interrupt])]
            while True:
                ready = select.select(watched, [], [])[0]
                if interrupt in ready:
                    return False
                if agent.fileno() in ready:
                    written = _received(agent)
                    if not written:
                        return True
                    on_output(written)
                if stdin.fileno() in ready:
                    typed = os.read(stdin.fileno(), 65536)
                    if not typed:
                        return False
                    with suppress(ConnectionError):  # the agent has just ended
                        agent.sendall(HEADER.pack(b"i", len(typed)) + typed)

    def resize(self, columns: int, rows: int) -> None:
        with suppress(Conflict, ConnectionError), self._connected() as agent:
            agent.sendall(HEADER.pack(b"r", SIZE.size) + SIZE.pack(columns, rows))

    def output(self, *, most: int) -> bytes:
        return (self._stage / "output").read_bytes()[-most:]

    def execute(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_seconds: float = 60.0) -> Outcome:
        environ = json.loads((self._stage / "agent.json").read_text())["environ"]
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                timeout=deadline_seconds,
                env=environ,
                cwd=self.tree,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeadlineExceeded(f"{argv[0]} did not end within {deadline_seconds:g} s in the bottle") from error
        return Outcome(done.returncode, done.stdout, done.stderr)

    def read_home(self, path: str, *, most: int, deadline_seconds: float = HOME_SECONDS) -> bytes | None:
        return read_home(self.execute, path, most, deadline_seconds)

    def diff(self, *, binary: bool = False) -> TreeDiff:
        self.git("add", "--all")
        pipes = [str(one.relative_to(self.tree)) for one in self.tree.rglob("*") if one.is_fifo()]
        words = ["diff", "--cached", *(["--binary"] if binary else []), "HEAD"]
        noted = self._stage / "refs"
        changed = noted.exists() and noted.read_bytes() != self._refs()
        return TreeDiff(self.git(*words).decode(errors="replace"), pipes, git_changes=int(changed))

    def export(self, path: str, target: Path, *, overwrite: bool = False) -> Sequence[str]:
        source = (self.tree / path).resolve()
        if not source.is_relative_to(self.tree.resolve()) or not source.exists():
            raise InvalidRequest(f"there is nothing at {path} in the tree")
        if target.exists() and not overwrite:
            raise Conflict(f"{target} exists", hint="--overwrite replaces it")
        self.guest.copy_in(str(source), str(target))
        return ()

    def network_log(self, *, limit: int) -> list[Mapping[str, object]]:
        try:
            found: list[Mapping[str, object]] = json.loads((self._stage / "network.json").read_text())
        except FileNotFoundError:
            return []
        return found[-limit:]

    def ends_at(self) -> float:
        raise Conflict("the lifetime of this bottle has no end")

    def live_until(self, moment: float) -> None:
        raise Conflict("the lifetime of this bottle has no end")

    def stop(self) -> None:
        if supervisor := self._supervisor():
            with suppress(ProcessLookupError):
                os.kill(supervisor.pid, signal.SIGTERM)
            if not _ended(supervisor):
                kill(supervisor)

    def git(self, *words: str) -> bytes:
        """Run git on the tree, with a repository beside it."""
        where = [f"--git-dir={self._stage / 'git'}", f"--work-tree={self.tree}"]
        return run(
            ["git", *where, "-c", "user.name=x", "-c", "user.email=x@localhost", *words], deadline_seconds=60
        ).stdout

    def note_refs(self) -> None:
        """Remember the branches and stashes of the tree: `diff` says whether they have changed."""
        (self._stage / "refs").write_bytes(self._refs())

    def _refs(self) -> bytes:
        argv = ["git", f"--git-dir={self.tree / '.git'}", "for-each-ref"]
        return run(argv, deadline_seconds=60, check=False).stdout

    def _supervisor(self) -> Identity | None:
        """Return the supervisor if it runs."""
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int((self._stage / "supervisor").read_text())
            if str(self._stage).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return identify(pid)
        return None

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        """Connect to the supervisor, through the folder's descriptor: the path of a socket has at most 108 bytes."""
        folder = os.open(self._stage, os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as agent:
                try:
                    agent.connect(f"/proc/self/fd/{folder}/socket")
                except OSError as error:
                    raise Conflict(f"the agent of {self.slug} has ended") from error
                yield agent
        finally:
            os.close(folder)

    def _wait(self) -> int | None:
        if supervisor := self._supervisor():
            _ended(supervisor)
        return self.exit_code()


def _received(agent: socket.socket) -> bytes:
    """Return what the agent wrote; nothing at its end, even if it has not read all that was typed."""
    try:
        return agent.recv(65536)
    except ConnectionResetError:
        return b""


def _ended(process: Identity) -> bool:
    """Wait for the end of a process; return whether it came in time."""
    try:
        watched = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], _END_SECONDS)[0])
    finally:
        os.close(watched)
