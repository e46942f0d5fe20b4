"""The one gateway through which programs run on the host.

An argv is a list, the environment is a whitelist, stdin is closed unless given, every run has a deadline,
and a failure carries a line that can be pasted into a shell to replay it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, HostToolMissing, NoSpace
from pyro_mcp.host.tools import require_tool

# What a child may see of our environment: where things are, how to reach the package mirrors, nothing else.
_PASSED_ON = (
    "PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME", "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG",
    "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
_STDERR_KEPT = 64 * 1024


@dataclass(frozen=True)
class Completed:
    """What a finished host program left: exit code 0, and its output as bytes."""

    stdout: bytes
    stderr: bytes


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment given to host programs: the whitelist plus `extra`."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment["LC_ALL"] = "C.UTF-8"
    environment.update(extra or {})
    return environment


def replay_line(argv: Sequence[str]) -> str:
    """A shell line that runs `argv` again."""
    return shlex.join(argv)


def run(
    argv: Sequence[str | Path],
    *,
    deadline_seconds: float,
    stdin: bytes | None = None,
    extra_environment: Mapping[str, str] | None = None,
    on_stderr_line: Callable[[str], None] | None = None,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a host program to its end.

    `argv[0]` is a name from `tools.PACKAGE_OF` or an absolute path. `on_stderr_line` sees each line of stderr
    as it appears, for progress. Raises `HostToolMissing`, `DeadlineExceeded` (the whole process group has then
    been killed), `NoSpace`, or `HostCommandFailed`.
    """
    words = [str(word) for word in argv]
    if not os.path.isabs(words[0]):
        words[0] = str(require_tool(words[0]))
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(extra_environment),
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise HostToolMissing(f"cannot run {words[0]}: {error.strerror}") from error
    stdout, stderr, in_time = _communicate(child, stdin, deadline_seconds, on_stderr_line)
    if not in_time:
        raise DeadlineExceeded(f"{Path(words[0]).name} did not end within {deadline_seconds:g} s: {replay_line(words)}")
    if child.returncode != 0:
        raise _failure(words, child.returncode, stderr)
    return Completed(stdout, stderr)


def _communicate(
    child: subprocess.Popen[bytes],
    stdin: bytes | None,
    deadline_seconds: float,
    on_stderr_line: Callable[[str], None] | None,
) -> tuple[bytes, bytes, bool]:
    """Feed and drain the child; (stdout, last part of stderr, whether it ended in time)."""
    expired = threading.Event()

    def kill_group() -> None:
        expired.set()
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    timer = threading.Timer(deadline_seconds, kill_group)
    timer.start()
    try:
        if on_stderr_line is None:
            stdout, stderr = child.communicate(stdin)
        else:
            stdout, stderr = _communicate_by_line(child, stdin, on_stderr_line)
    except BaseException:
        kill_group()
        child.wait()
        raise
    finally:
        timer.cancel()
    return stdout, stderr[-_STDERR_KEPT:], not expired.is_set()


def _communicate_by_line(
    child: subprocess.Popen[bytes], stdin: bytes | None, on_stderr_line: Callable[[str], None]
) -> tuple[bytes, bytes]:
    assert child.stdout is not None and child.stderr is not None
    collected: list[bytes] = []
    readers = [threading.Thread(target=lambda: collected.append(child.stdout.read()), daemon=True)]  # type: ignore[union-attr]
    if stdin is not None:
        readers.append(threading.Thread(target=_feed, args=(child, stdin), daemon=True))
    for reader in readers:
        reader.start()
    kept = b""
    for line in child.stderr:
        kept = (kept + line)[-_STDERR_KEPT:]
        on_stderr_line(line.decode(errors="replace").rstrip())
    for reader in readers:
        reader.join()
    child.wait()
    child.stdout.close()
    child.stderr.close()
    return collected[0], kept


def _feed(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.write(data)
        child.stdin.close()


def _failure(words: Sequence[str], status: int, stderr: bytes) -> HostCommandFailed | NoSpace:
    said = stderr.decode(errors="replace").strip().splitlines()
    last = "\n".join(said[-12:]) or "(it printed nothing)"
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with exit code {status}"
    name = Path(words[0]).name
    if any("no space left on device" in line.lower() or "disk quota exceeded" in line.lower() for line in said):
        return NoSpace(f"{name}: no space left on the host's disk", hint=f"replay: {replay_line(words)}")
    return HostCommandFailed(f"{name} {how}:\n{last}", hint=f"replay: {replay_line(words)}")
