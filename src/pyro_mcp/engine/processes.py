"""Start and end the processes of one machine.

The listening sockets are made here and passed on, so a client can connect at once and does not poll for a
file to appear. The processes run in a session of their own and outlive this process.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pyro_mcp.engine.lifetime import MOVING_DEADLINE
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.errors import DeadlineExceeded, HostNotReady, PyroError
from pyro_mcp.host.control_groups import remove_group
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.process import child_environment
from pyro_mcp.host.process_identity import Identity, alive, identify, process_state
from pyro_mcp.host.sockets import bind, connect

_END_DEADLINE = 10.0
_UNTIL_EXEC = 0.01
_LOG_KEPT = 2000


def find_processes(argument: str) -> list[Identity]:
    """Return the first process of each machine whose command line has a path below `argument`."""
    return [identity for identity, _ in _first_processes(argument)]


def machines_below(folder: str) -> dict[str, Identity]:
    """Return the machines that run from a folder in `folder`, by that folder's name, even if it was removed."""
    return {name: identity for identity, name in _first_processes(folder, homes_only=True)}


def _first_processes(folder: str, *, homes_only: bool = False) -> Iterator[tuple[Identity, str]]:
    """Yield the first process of each machine with a path below `folder`, and the path's next component."""
    prefixes = {os.fsencode(one) + b"/" for one in (folder, os.path.realpath(folder))}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with suppress(OSError):
            words = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
            # Before its child calls exec, the child has the same command line.
            if words[1:2] != [b"--signal=KILL"] or os.getpgid(pid) != pid:
                continue
            paths = _paths(pid, words, homes_only=homes_only)
            below = next(
                (path[len(prefix) :] for path in paths for prefix in prefixes if path.startswith(prefix)), None
            )
            if below is not None and (identity := identify(pid)) is not None:
                yield identity, os.fsdecode(below.split(b"/")[0])


def _paths(pid: int, words: list[bytes], *, homes_only: bool) -> Iterator[bytes]:
    """Yield the paths that a machine's first process uses, the one in its home first.

    One that began as a spare is in another home than its command line says: in that of the folder it works in.
    """
    if words[2:3] == [os.fsencode(MOVING_DEADLINE)]:
        yield os.readlink(os.fsencode(f"/proc/{pid}/cwd"))
        if homes_only:
            return
    yield from words


def launch(make_argv: Callable[[list[int]], list[str]], sockets: MachineSockets, log: Path, tap: int = -1) -> Identity:
    """Start a machine's processes; `make_argv` gets the descriptors of its listening sockets and returns the command.

    They also inherit `tap` unless it is -1, and work in the folder of the sockets. Their output goes to `log`. The
    first process leads a process group that holds them all. Returns that process, which may already have ended. Raises
    `HostNotReady`.
    """
    with listening(sockets) as fds, open(log, "wb") as output:
        process = subprocess.Popen(
            make_argv(fds),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=child_environment(),
            start_new_session=True,
            pass_fds=[*fds, tap] if tap >= 0 else fds,
            cwd=sockets.folder,
        )
    process.returncode = 0  # it outlives us by design; Popen would warn of it when collected
    identity = identify(process.pid)
    # If it has ended already, the first request reports why.
    return identity or Identity(process.pid, 0)


@contextmanager
def launched(
    make_argv: Callable[[list[int]], list[str]], sockets: MachineSockets, log: Path, tap: int = -1
) -> Iterator[Identity]:
    """Start a machine's processes as `launch` does; if the block fails, kill them.

    An error of ours then also says what they have written to `log`.
    """
    identity = launch(make_argv, sockets, log, tap)
    try:
        yield identity
    except BaseException as error:
        kill(identity, sockets)
        if isinstance(error, PyroError) and (said := log.read_text(errors="replace").strip()):
            message = f"{error.message}\nIts processes printed: {said[-_LOG_KEPT:]}"
            raise type(error)(message, hint=error.hint) from error
        raise


@contextmanager
def listening(sockets: MachineSockets) -> Iterator[list[int]]:
    """Listen on every socket of a machine; yields the descriptors in the order of `MachineSockets.all`."""
    private_directory(sockets.folder, parents=False)
    with ExitStack() as stack:
        fds = []
        for path in sockets.all:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            try:
                bind(listener, path)
            except OSError as error:
                raise HostNotReady(f"cannot make a socket in {sockets.folder}: {error.strerror}") from error
            listener.listen(64)
            fds.append(listener.fileno())
        yield fds


def kill(identity: Identity, sockets: MachineSockets) -> None:
    """Kill all processes of a machine, wait until none is left, and remove its sockets; a second call does nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as witness:
        watching = _watch(witness, sockets)
        if alive(identity):
            with suppress(ProcessLookupError):
                os.killpg(identity.pid, signal.SIGKILL)
        # The last process closes the witness a moment before it has ended.
        if not ((not watching or _closed(witness, _END_DEADLINE)) and _exited(identity, _END_DEADLINE)):
            raise DeadlineExceeded(f"a virtual machine did not die within {_END_DEADLINE:g} s of being killed")
    found = process_state(identity.pid)
    if found is not None and found[1] == identity.start_time:  # its zombie, not another child of ours
        with suppress(ChildProcessError):
            os.waitpid(identity.pid, os.WNOHANG)
    with suppress(OSError):
        remove_group(Path(sockets.group.read_text()))
    shutil.rmtree(sockets.folder, ignore_errors=True)


def kill_found(argument: str, sockets: MachineSockets) -> None:
    """Kill the processes of a machine whose first process is not known; a second call does nothing.

    A process that was just forked holds the sockets, but its command line does not show it before it calls exec.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as witness:
        watching, deadline = _watch(witness, sockets), time.monotonic() + _END_DEADLINE
        while True:
            for identity, _ in _first_processes(argument, homes_only=True):
                kill(identity, sockets)
            if not watching or _closed(witness, _UNTIL_EXEC):
                return
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"something holds {sockets.life} and is no virtual machine")


def wait_for_end(identity: Identity, sockets: MachineSockets, *, deadline_seconds: float) -> bool:
    """Wait until a machine ends by itself; return whether it did."""
    end_time = time.monotonic() + deadline_seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as witness:
        if _watch(witness, sockets) and not _closed(witness, deadline_seconds):
            return False
    return _exited(identity, max(0.0, end_time - time.monotonic()))


def _watch(witness: socket.socket, sockets: MachineSockets) -> bool:
    """Connect to the socket that every process of the machine holds open; return False when none is left."""
    try:
        connect(witness, sockets.life)
    except OSError:
        return False
    return True


def _closed(witness: socket.socket, deadline_seconds: float) -> bool:
    """Wait until the last process has ended, when the kernel closes the other side; return whether it did."""
    return _ready(witness.fileno(), deadline_seconds)


def _exited(identity: Identity, deadline_seconds: float) -> bool:
    """Wait until this process has ended; its zombie may be left. Return whether it did."""
    try:
        watched = os.pidfd_open(identity.pid)
    except OSError:  # there is no such process, or no such number
        return True
    try:
        return not alive(identity) or _ready(watched, deadline_seconds)
    finally:
        os.close(watched)


def _ready(fd: int, deadline_seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)  # as ever with poll, a hang-up counts too
    return bool(poll.poll(deadline_seconds * 1000))
