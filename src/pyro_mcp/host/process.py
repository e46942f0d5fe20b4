"""Run programs on the host.

`run` takes a list of arguments, never a shell line; passes only listed environment variables; closes stdin unless it
is given; enforces a deadline; and reports a failure with a shell line that runs the program again.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, HostToolMissing, Interrupted, NoSpace
from pyro_mcp.host.programs import require_program

# The only variables of our environment that a child gets: paths, and access to registries and proxies.
_PASSED_ON = (
    "PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME", "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG",
    "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
_STDERR_KEPT = 64 * 1024
_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Completed:
    """The output of a program that ended; of `stderr` the last 64 KiB. `exit_code` is -n when signal n ended it."""

    stdout: bytes
    stderr: bytes
    exit_code: int = 0


@dataclass(frozen=True)
class Limits:
    """Resource limits of one program; the kernel applies them to it and to each of its children: setrlimit(2).

    `memory_bytes` limits the address space, `file_bytes` the size of a file it writes. No core file is written.
    """

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int

    def argv(self) -> list[str]:
        """Return the words to put before a program's arguments to start it with these limits."""
        return [
            str(require_program("prlimit")),
            f"--as={self.memory_bytes}",
            f"--cpu={self.cpu_seconds}",
            f"--fsize={self.file_bytes}",
            "--core=0",
            "--",
        ]


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a host program: the listed variables, `LC_ALL=C.UTF-8`, and `extra`."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment["LC_ALL"] = "C.UTF-8"
    environment.update(extra or {})
    return environment


def replay_line(argv: Sequence[str]) -> str:
    """Return a shell line that runs `argv` again."""
    return shlex.join(argv)


def run(
    argv: Sequence[str | Path],
    *,
    deadline_seconds: float,
    stdin: bytes | IO[bytes] | None = None,
    extra_environment: Mapping[str, str] | None = None,
    on_stdout: Callable[[bytes], object] | None = None,
    on_stderr_line: Callable[[str], None] | None = None,
    pass_fds: Sequence[int] = (),
    limits: Limits | None = None,
    interrupt: int | None = None,
    check: bool = True,
) -> Completed:
    """Run a host program until it ends and return its output.

    `argv[0]` is a name from `programs.PACKAGE_OF` or an absolute path. `stdin` is the input, or a file that the program
    reads itself. `on_stdout` gets the output in pieces, which are then not kept; an error that it raises kills the
    program. `on_stderr_line` gets each line of stderr as it appears. A program that exceeds its `limits` fails.

    Raises `HostToolMissing`; `DeadlineExceeded` after `deadline_seconds`, and `Interrupted` when the descriptor
    `interrupt` becomes readable before the output ends, when its whole process group has been killed; and, unless
    `check` is false, `NoSpace` when it reports a full disk, and `HostCommandFailed` for any other exit code than 0,
    with the last 12 lines of stderr.
    """
    words = [str(word) for word in argv]
    if not os.path.isabs(words[0]):
        words[0] = str(require_program(words[0]))
    try:
        child = subprocess.Popen(
            [*(limits.argv() if limits else ()), *words],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE if isinstance(stdin, bytes) else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(extra_environment),
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise HostToolMissing(f"cannot run {words[0]}: {error.strerror}") from error
    stdout, errors = bytearray(), _StderrReader(on_stderr_line)
    given = stdin if isinstance(stdin, bytes) else None
    if not _communicate(child, given, deadline_seconds, on_stdout or stdout.extend, errors, interrupt=interrupt):
        raise DeadlineExceeded(f"{Path(words[0]).name} did not end within {deadline_seconds:g} s: {replay_line(words)}")
    if check and child.returncode != 0:
        raise _failure(words, child.returncode, errors.kept)
    return Completed(bytes(stdout), errors.kept, child.returncode)


def _communicate(
    child: subprocess.Popen[bytes],
    stdin: bytes | None,
    deadline_seconds: float,
    on_stdout: Callable[[bytes], object],
    stderr: _StderrReader,
    *,
    interrupt: int | None,
) -> bool:
    """Write stdin and read the output; return whether the child ended in time."""
    end = time.monotonic() + deadline_seconds
    # Leaving the block closes our ends of the pipes, so a descendant outside the group that holds theirs delays nobody.
    with child:
        in_time = False
        try:
            in_time = _pump(child, stdin, on_stdout, stderr, end, interrupt=interrupt)
        finally:
            if not in_time:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
    return in_time


def _pump(
    child: subprocess.Popen[bytes],
    stdin: bytes | None,
    on_stdout: Callable[[bytes], object],
    stderr: _StderrReader,
    end: float,
    *,
    interrupt: int | None,
) -> bool:
    """Move bytes until the child has ended and all its streams are closed; return False when `end` came first."""
    assert child.stdout is not None and child.stderr is not None
    waiting = memoryview(stdin or b"")
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, on_stdout)
        selector.register(child.stderr, selectors.EVENT_READ, stderr.take)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE)
        if interrupt is not None:
            selector.register(interrupt, selectors.EVENT_READ)
        while len(selector.get_map()) > (interrupt is not None):
            for key, _ in selector.select(max(0.0, end - time.monotonic())):
                if key.fd == interrupt:
                    raise Interrupted("the program was interrupted, and killed")
                if child.stdin is not None and key.fileobj is child.stdin:
                    waiting = _feed(key.fd, waiting)
                    if not waiting:
                        selector.unregister(child.stdin)
                        child.stdin.close()
                elif data := os.read(key.fd, _CHUNK):
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
            if time.monotonic() >= end:
                return False
    stderr.end()
    try:
        child.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


class _StderrReader:
    """The last part of a program's stderr, whose lines are passed on as they come."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self.kept = b""
        self._on_line = on_line
        self._partial = b""

    def take(self, data: bytes) -> None:
        self.kept = (self.kept + data)[-_STDERR_KEPT:]
        if self._on_line is not None:
            *lines, self._partial = (self._partial + data)[-_STDERR_KEPT:].split(b"\n")
            for line in lines:
                self._on_line(line.decode(errors="replace").rstrip())

    def end(self) -> None:
        if self._partial:
            self.take(b"\n")


def _feed(fd: int, waiting: memoryview) -> memoryview:
    try:
        return waiting[os.write(fd, waiting[:_CHUNK]) :]
    except BlockingIOError:
        return waiting
    except BrokenPipeError:
        return waiting[len(waiting) :]


def _failure(words: Sequence[str], status: int, stderr: bytes) -> HostCommandFailed | NoSpace:
    lines = stderr.decode(errors="replace").strip().splitlines()
    last = "\n".join(lines[-12:]) or "(it printed nothing)"
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with exit code {status}"
    name = Path(words[0]).name
    if any("no space left on device" in line.lower() or "disk quota exceeded" in line.lower() for line in lines):
        return NoSpace(f"{name}: no space left on the host's disk", hint=f"replay: {replay_line(words)}")
    return HostCommandFailed(f"{name} {how}:\n{last}", hint=f"replay: {replay_line(words)}")
