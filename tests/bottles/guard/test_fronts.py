"""The processes that speak HTTP with a guest are confined, and end with their guard."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_bottle.guard.front import Front, _received
from pyro_mcp.errors import PyroError
from pyro_mcp.network.policy.refused import Refused
from tests.bottles.guard.conftest import Gateway, Guard
from tests.waiting import until


def fronts(guard: int = 0) -> list[int]:
    """The processes that are fronts of this test's guards: those with its private folder open."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if b"claude_bottle.guard.mcp_front" in words and path.name.isdigit() and _is_ours(int(path.name), guard):
            found.append(int(path.name))
    return found


def _is_ours(pid: int, guard: int) -> bool:
    """Return whether a process has the session of the guard that started it."""
    return os.getsid(pid) == os.getsid(guard)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_mcp_server_sees_no_file_of_the_user_and_has_no_rights(guard: Guard, tmp_path: Path) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.tool("capability_status")
    [pid] = fronts(bottle.pid)

    found = status(pid)
    assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "1")
    assert {int(found[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd")} == {0}
    if os.geteuid() == 0:
        assert found["Uid"].split() == ["65534"] * 4
        root = Path(f"/proc/{pid}/root")
        assert not (root / "etc").exists() and not (root / "proc/1").exists()
        assert not root.joinpath(*tmp_path.parts[1:]).exists()
        assert not (root / str(Path(bottle.settings.manifest_files[0]).relative_to("/"))).exists()
    ours, theirs = (os.readlink(f"/proc/{one}/ns/net") for one in ("self", pid))
    assert ours != theirs


def test_a_front_ends_with_its_guard_however_that_ends(guard: Guard) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.tool("capability_status")
    [pid] = fronts(bottle.pid)
    os.kill(bottle.pid, signal.SIGKILL)

    assert bottle.ended()
    until("the end of the front", lambda: status_or_none(pid), lambda found: found is None or "Z" in found)


def status_or_none(pid: int) -> str | None:
    try:
        return status(pid)["State"]
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_a_front_that_was_killed_is_started_again(guard: Guard) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.tool("request_capability", kind="host", host="a.example", reason="x")
    [first] = fronts(bottle.pid)
    os.kill(first, signal.SIGKILL)
    until("the end of the front", lambda: status_or_none(first), lambda found: found is None or "Z" in found)

    answer = until("an answer", lambda: _answered(bottle.gateway), lambda found: found is not None)
    assert answer == ["r1"] and fronts(bottle.pid) != [first]


def _answered(gateway: Gateway) -> list[str] | None:
    """Return the requests that the agent sees; None as long as the guard has not noticed that its front has ended."""
    try:
        return [one["request"] for one in gateway.tool("capability_status")["requests"]]
    except (OSError, Refused):
        return None


@pytest.mark.parametrize("sent", ["nothing", "a file", "datagrams", "an internet socket"])
def test_a_message_that_no_front_sends_is_taken_for_its_end(sent: str) -> None:
    opened: dict[str, Callable[[], int]] = {
        "a file": lambda: os.open(os.devnull, os.O_RDONLY),
        "datagrams": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(),
        "an internet socket": lambda: socket.socket().detach(),
    }
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        if sent == "nothing":
            theirs.send(b"c")
        else:
            descriptor = opened[sent]()
            socket.send_fds(theirs, [b"c"], [descriptor])
            os.close(descriptor)
        before = os.listdir("/proc/self/fd")
        assert _received(ours) is None
        assert os.listdir("/proc/self/fd") == before


def test_a_front_that_always_ends_is_not_started_without_end(tmp_path: Path) -> None:
    front = Front("this", tmp_path / "s", lambda _: None, most_calls=1)  # a program that ends at once

    def said() -> str:
        try:
            with front.connect() as connection:
                connection.settimeout(30)
                return connection.recv(1).decode()
        except (PyroError, ConnectionError) as error:
            return str(error)

    until("the refusal to start it again", said, lambda found: "has ended too often" in found)
    front.close()


def test_a_guard_and_its_programs_cannot_attack_other_processes_or_gain_privileges(guard: Guard) -> None:
    found = status(guard().pid)
    assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "1")


_RESTRICTED = """
import ctypes, os, sys
from pathlib import Path
from claude_bottle.gate.git import Repository, upstream_git
from pyro_mcp.host.confinement import restrict
from pyro_mcp.host.syscalls import NUMBER
restrict()
libc = ctypes.CDLL(None, use_errno=True)
for name in ("ptrace", "process_vm_readv", "bpf", "keyctl", "io_uring_setup", "init_module", "pidfd_getfd"):
    assert libc.syscall(NUMBER[name], 0, 0, 0, 0, 0) == -1, name
    print(name, os.strerror(ctypes.get_errno()))
folder = Path(sys.argv[1])
mirror = Repository.create(folder / "mirror.git")
print(mirror.git("for-each-ref"), upstream_git(
    ["ls-remote", str(mirror.folder)], folder=mirror.folder, transport="file", writable=[], seconds=60).stdout)
"""


def test_a_restricted_process_still_runs_git_in_its_sandboxes(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _RESTRICTED, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    *denied, git = done.stdout.splitlines()
    assert git == "b'' b''"
    assert {line.partition(" ")[2] for line in denied} == {"Operation not permitted"}
