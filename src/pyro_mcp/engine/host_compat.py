"""The engine for hosts where no guest can run: a bubblewrap sandbox on the host itself.

Used only on request, and labelled `host_compat` everywhere: it shares the host's kernel, so it is a much weaker
boundary than a machine. A command sees the host's programs read-only and a /workspace, empty at first, that lasts as
long as the machine's home. It sees no other file of the user, no network and no other process.
"""

from __future__ import annotations

import errno
import json
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pyro_mcp.engine.freeze import GUEST_TOOL
from pyro_mcp.engine.guest_connection import Capture, encode_exec
from pyro_mcp.engine.guest_programs import tool_binary
from pyro_mcp.engine.interface import (
    Accelerator,
    Command,
    Outcome,
    Preparation,
    Shape,
    Started,
    StartRequest,
    System,
    TemplateState,
)
from pyro_mcp.errors import Conflict, DeadlineExceeded, GuestGone, HostNotReady, Interrupted, InvalidRequest, PyroError
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.process import child_environment
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.progress import Progress, silent

_READ_ONLY = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/etc/passwd")
_ONLY_COMMANDS = "a host_compat machine runs commands and works on files, nothing else"
_NO_PROCESS = Identity(0, 0)
_CHUNK = 64 * 1024
_END_DEADLINE = 10.0


class HostCompat:
    """An engine that runs each command in a sandbox of its own; between commands nothing runs."""

    execution_mode = "host_compat"

    def accelerator(self, wish: str = "") -> Accelerator:
        return Accelerator("none", "no guest runs: commands run in a sandbox on the host")

    def accelerator_fault(self, name: str) -> str:
        return "no guest runs"

    def template_state(self, system: System, shape: Shape, accelerator: str = "") -> TemplateState:
        return "cold"

    def prepare(self, system: System, shape: Shape, progress: Progress = silent, accelerator: str = "") -> Preparation:
        return Preparation("none", 0.0, reused=True)

    def spare_key(self, request: StartRequest) -> str | None:
        return None

    def claim(self, spare: Path, identity: Identity, request: StartRequest) -> None:
        raise Conflict("a host_compat machine has no processes that could wait for it")

    def remove_leftovers(self) -> None:
        pass

    def prune_templates(self) -> int:
        return 0

    def template_bytes(self) -> int:
        return 0

    def start(self, request: StartRequest, progress: Progress = silent) -> Started:
        """Make the folder of /workspace. Raises `HostToolMissing` without bubblewrap."""
        require_program("bwrap")
        private_directory(request.home / "workspace")
        # The layers above know a machine by its sockets' folder; here it only leads to the workspace.
        private_directory(request.sockets)
        link = request.sockets / "workspace"
        link.unlink(missing_ok=True)
        link.symlink_to(request.home / "workspace")
        return Started(_NO_PROCESS, "none")

    def panic(self, home: Path, sockets: Path, identity: Identity) -> str:
        return ""

    @contextmanager
    def connect(
        self, sockets: Path, *, deadline_seconds: float = 10.0, long_running: bool = False
    ) -> Iterator[HostSession]:
        link = sockets / "workspace"
        if not link.exists():
            raise GuestGone("this host_compat machine has ended")
        yield HostSession(link.resolve())

    def add_layer(self, home: Path, name: str) -> None:
        raise Conflict("a host_compat machine has no disk that could be frozen")

    def is_layer_empty(self, home: Path, name: str) -> bool:
        return False

    def merge_layers(self, home: Path, sockets: Path, layers: Sequence[str]) -> None:
        raise Conflict("a host_compat machine has no disk that could be frozen")

    def switch_layer(self, home: Path, sockets: Path, layers: Sequence[str], name: str) -> tuple[str, ...]:
        raise Conflict("a host_compat machine has no disk that could be frozen")

    def set_lifetime(self, home: Path, seconds: float) -> None:
        pass  # between two commands nothing runs

    def alive(self, identity: Identity) -> bool:
        return identity == _NO_PROCESS

    def power_off(
        self, identity: Identity, sockets: Path, when_flushed: Callable[[], object], progress: Progress = silent
    ) -> None:
        when_flushed()
        self.kill(identity, sockets)

    def kill_all(self, home: Path, sockets: Path) -> None:
        pass

    def running_below(self, folder: Path) -> list[str]:
        return []

    def kill(self, identity: Identity, sockets: Path) -> None:
        (sockets / "workspace").unlink(missing_ok=True)


class HostSession:
    """A connection that runs commands in sandboxes around one workspace folder."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    def flush(self, *, deadline_seconds: float = 60.0) -> None:
        os.sync()

    def run_detached(self, command: Command) -> tuple[int, int]:
        raise Conflict(f"{command.argv[0]!r} cannot go on by itself without a guest")

    def run(self, command: Command) -> Outcome:
        """Run one command until it ends, with the same outcome as in a guest.

        Raises `InvalidRequest` for a folder that cannot be entered, `HostNotReady` where no sandbox can be made.
        """
        encode_exec(command)  # the same refusals as on the wire
        if command.is_guest_program and command.argv[0] != GUEST_TOOL:
            raise Conflict("without a guest, programs do not go on between calls", hint=_ONLY_COMMANDS)
        started = time.monotonic()
        end = started + command.timeout_seconds if command.timeout_seconds else float("inf")
        stdout = Capture(command.output_cap, command.on_stdout)
        stderr = Capture(command.output_cap, command.on_stderr)
        try:
            with self._sandbox(command) as sandbox:
                timed_out = not _communicate(sandbox.bubblewrap, command, stdout, stderr, end)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            stderr.take(f"pyro: {error.strerror}\n".encode())
            return _outcome(126, stdout, stderr, False, time.monotonic() - started)
        status = sandbox.exit_code()
        if status is None and not timed_out:
            raise _no_sandbox(command, stderr.kept())
        return _outcome(status or 0, stdout, stderr, timed_out, time.monotonic() - started)

    @contextmanager
    def _sandbox(self, command: Command) -> Iterator[Sandbox]:
        """Start the command in a sandbox; all its processes have ended when the block has."""
        report, reporter = os.pipe()
        with open(report, "rb", buffering=0) as reports:
            os.set_blocking(report, False)
            try:
                bubblewrap = subprocess.Popen(
                    self._argv(command, reporter),
                    stdin=subprocess.PIPE if isinstance(command.stdin, bytes) else command.stdin or subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=child_environment(),
                    start_new_session=True,
                    pass_fds=(reporter,),
                )
            finally:
                os.close(reporter)
            sandbox = Sandbox(bubblewrap, reports)
            with bubblewrap:
                try:
                    yield sandbox
                finally:
                    sandbox.end()

    def _argv(self, command: Command, reporter: int) -> list[bytes]:
        words: list[str] = [str(require_program("bwrap")), "--unshare-all", "--die-with-parent", "--new-session"]
        words += ["--cap-drop", "ALL", "--clearenv", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        words += ["--json-status-fd", str(reporter)]
        for path in _READ_ONLY:
            if os.path.islink(path):
                words += ["--symlink", os.readlink(path), path]
            else:
                words += ["--ro-bind-try", path, path]
        words += ["--bind", str(self._workspace), "/workspace", "--dir", "/root"]
        if command.is_guest_program:  # it works where it would in a guest
            words += ["--ro-bind", str(tool_binary()), GUEST_TOOL, "--bind", str(self._workspace), "/root/workspace"]
        words += ["--chdir", command.cwd]
        # env gives exactly the environment asked for, to which bubblewrap would add PWD; nice, which changes nothing
        # here, ends with 126 and 127 as a guest does and takes a program whose name holds "=".
        words += ["--", "/usr/bin/env", "-i", "--", *(f"{name}={value}" for name, value in command.environ.items())]
        words += ["/usr/bin/nice", "-n", "0", "--"]
        return [os.fsencode(word) for word in [*words, *command.argv]]


@dataclass
class Sandbox:
    """A running bubblewrap, and the lines of JSON in which it reports."""

    bubblewrap: subprocess.Popen[bytes]
    reports: IO[bytes]
    facts: dict[str, int] = field(default_factory=dict)

    def exit_code(self) -> int | None:
        """Return the command's exit code once it has ended; None when bubblewrap itself has failed."""
        return self.facts.get("exit-code")

    def end(self) -> None:
        """Kill every process in the sandbox and wait until none is left; raises `DeadlineExceeded`."""
        self._read()
        with suppress(ProcessLookupError), ExitStack() as stack:
            # The first process of a pid namespace is gone only when all others are.
            first = os.pidfd_open(self.facts["child-pid"]) if "child-pid" in self.facts else None
            if first is not None:
                stack.callback(os.close, first)
            os.killpg(self.bubblewrap.pid, signal.SIGKILL)
            if first is not None and not select.select([first], [], [], _END_DEADLINE)[0]:
                raise DeadlineExceeded(f"a sandbox did not die within {_END_DEADLINE:g} s of being killed")
        self.bubblewrap.wait()

    def _read(self) -> None:
        for line in (self.reports.read() or b"").splitlines():
            self.facts |= json.loads(line)


def _no_sandbox(command: Command, said: bytes) -> PyroError:
    why = said.decode(errors="replace").strip() or "it did not say why"
    if "Can't chdir to" in why:
        return InvalidRequest(f"the guest cannot run the command: it cannot enter {command.cwd}")
    return HostNotReady(
        f"bubblewrap cannot make a sandbox here: {why}",
        hint="it needs unprivileged user namespaces: see sysctl user.max_user_namespaces",
    )


def _communicate(
    child: subprocess.Popen[bytes], command: Command, stdout: Capture, stderr: Capture, end: float
) -> bool:
    """Write stdin, read output until the child has ended; return False when `end` came first. Raises `Interrupted`."""
    assert child.stdout is not None and child.stderr is not None
    waiting = memoryview(command.stdin) if isinstance(command.stdin, bytes) else memoryview(b"")
    with selectors.DefaultSelector() as selector:
        ended = os.pidfd_open(child.pid)
        try:
            selector.register(ended, selectors.EVENT_READ)
            if command.interrupt is not None:
                selector.register(command.interrupt, selectors.EVENT_READ)
            for pipe, capture in ((child.stdout, stdout), (child.stderr, stderr)):
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, capture)
            if child.stdin is not None:
                os.set_blocking(child.stdin.fileno(), False)
                selector.register(child.stdin, selectors.EVENT_WRITE)
            while True:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                ready = selector.select(min(left, 3600.0))
                for key, _ in ready:
                    if key.fd == command.interrupt:
                        raise Interrupted("the command was interrupted, and killed")
                    if isinstance(key.data, Capture):
                        _drain(key.fd, key.data, once=True)
                    elif child.stdin is not None and key.fileobj is child.stdin:
                        waiting = _feed(child.stdin, waiting)
                        if not waiting:
                            selector.unregister(child.stdin)
                            child.stdin.close()
                if any(key.fd == ended for key, _ in ready):
                    _drain(child.stdout.fileno(), stdout)
                    _drain(child.stderr.fileno(), stderr)
                    return True
        finally:
            os.close(ended)


def _drain(fd: int, capture: Capture, *, once: bool = False) -> None:
    with suppress(BlockingIOError):
        while data := os.read(fd, _CHUNK):
            capture.take(data)
            if once:
                return


def _feed(pipe: IO[bytes], waiting: memoryview) -> memoryview:
    try:
        return waiting[os.write(pipe.fileno(), waiting[:_CHUNK]) :]
    except BlockingIOError:
        return waiting
    except BrokenPipeError:
        return waiting[len(waiting) :]


def _outcome(status: int, stdout: Capture, stderr: Capture, timed_out: bool, seconds: float) -> Outcome:
    # bubblewrap does not tell a signal from an exit code over 128.
    signalled = status - 128 if 128 < status <= 192 else None
    return Outcome(
        exit_code=124 if timed_out else status,
        stdout=stdout.kept(),
        stderr=stderr.kept(),
        stdout_bytes=stdout.total,
        stderr_bytes=stderr.total,
        timed_out=timed_out,
        signal=signal.SIGKILL if timed_out else signalled,
        duration_ms=seconds * 1000,
    )
