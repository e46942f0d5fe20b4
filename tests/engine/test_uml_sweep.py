"""A program in the place of a kernel that is a process tries everything there is, and nothing changes on the host."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from pyro_mcp.engine.cage import CONFINE, CONFINE_INSIDE
from pyro_mcp.engine.uml.cage import kernel_cage
from pyro_mcp.engine.uml.calls import kernel_calls
from pyro_mcp.engine.uml.programs import KERNEL
from pyro_mcp.host.syscalls import NUMBER
from tests.engine.test_cage import by, compiled, identity, machine_user, pytestmark, user, youngest

__all__ = ["pytestmark", "user"]

MEM_MIB = 64
DEADLINE = 60.0
VISIBLE = {"/", "/kernel", "/initramfs", CONFINE_INSIDE, "/dev", "/dev/null", "/proc", "/proc/cpuinfo", "/vhost"}
"""What a kernel may read besides its own folder; the sockets of its devices are in the last."""
TRIED = (
    *VISIBLE, "/etc/passwd", "/etc/shadow", "/proc/self/mem", "/proc/1/mem", "/proc/kcore", "/sys", "/dev/mem",
    "/dev/kvm", "/dev/net/tun", "/dev/shm", "/dev/pts", "/tmp", "/var/tmp", "/run", "/root", "/home", "/usr", "/lib",
    "/oldroot", "/..", "/proc/../etc/passwd", "/vhost/../../etc/passwd", "/memory/../..", "/proc/self/fd/0",
    "/dev/fd/0", "/dev/stdin",
)  # fmt: skip


class Host:
    """What a program could change on the host, in a test's own corner of it."""

    def __init__(self, home: Path, owner: int, stack: ExitStack) -> None:
        home.chmod(0o755)
        self.program = compiled("uml_sweep.c", home / "sweep", "-static")
        self.files = [self.program, home / "initramfs", home / "canary", CONFINE]
        for path in self.files[1:3]:
            path.write_text("unchanged")
        self.vhost = home / "vhost"
        self.vhost.mkdir(mode=0o711)
        self.name = f"pyro-test-{os.getpid()}"
        self.listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.listener.bind(f"\0{self.name}")
        self.listener.listen()
        self.listener.setblocking(False)
        for path in (*self.files[:3], self.vhost):  # the program and its files are often the user's own
            os.chown(path, owner, owner)
        words = ["sleep", "1000"]
        self.neighbour = stack.enter_context(subprocess.Popen(words, **identity(owner)))  # type: ignore[call-overload]
        stack.callback(self.neighbour.kill)

    def state(self) -> list[object]:
        """Return what must not change."""
        stats = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_mtime_ns) for path in self.files]
        contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.files]
        tables = [Path("/proc/sysvipc", kind).read_text() for kind in ("shm", "msg", "sem")]
        tables += [Path("/proc/self/mountinfo").read_text(), os.uname().nodename]
        return [stats, contents, tables, sorted(self.vhost.iterdir()), oct(os.stat("/dev/null").st_mode)]

    def was_reached(self) -> bool:
        """Return whether anything connected to us, or ended our neighbour."""
        with suppress(BlockingIOError):
            self.listener.accept()
            return True
        return self.neighbour.poll() is not None


@pytest.fixture
def host(user: int, home: Path) -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(home, user, stack)


def files_below(root: Path) -> Iterator[str]:
    """Yield every path that a process sees, looked at from outside; nothing where we may not look."""
    for folder, folders, names in os.walk(root, onerror=None):
        for name in (*folders, *names):
            yield "/" + str(Path(folder, name).relative_to(root))


def test_a_program_that_tries_everything_gets_nowhere(user: int, host: Host, home: Path) -> None:
    listed = [str(NUMBER[name]) for name in kernel_calls()]
    argv = [KERNEL, host.name, *listed]
    words = by(
        user,
        lambda: kernel_cage(
            argv, home / "initramfs", host.vhost, mem_mib=MEM_MIB, user=machine_user(), kernel=host.program
        ),
    )
    before = host.state()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, **pipes, **identity(user), text=True) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        seen = sorted(files_below(Path(f"/proc/{youngest(process.pid)}/root")))
        said, complaint = process.communicate("\n".join([*TRIED, *seen, ""]), timeout=DEADLINE)
    assert process.returncode == 0, complaint
    assert said.endswith("end\n")
    lines = [line for line in said.splitlines() if line != "end" and not line.startswith("note: ")]
    read = {line.removeprefix("read ") for line in lines if line.startswith("read ")}
    got = [line for line in lines if not line.startswith("read ")]
    assert {line for line in got if not _is_its_own(line.split()[1])} == set()
    assert "make /memory/x: ok" in got, "the program ran, and its own folder is open to it"
    assert {path for path in read if os.path.normpath(path) not in VISIBLE and not _is_its_own(path)} == set()
    assert host.state() == before
    assert not host.was_reached()
    if os.getuid() == 0:
        assert {"/kernel", "/confine", "/dev/null"} <= set(seen), "we looked in"


def _is_its_own(path: str) -> bool:
    path = os.path.normpath(path.rstrip(":"))
    return path in {"/dev/null", "/memory"} or path.startswith("/memory/")
