"""A running machine, as the tests of the engine hold it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_mcp.engine.interface import Command, Outcome, Shape, StartRequest, System
from pyro_mcp.engine.qemu.machines import QemuEngine
from pyro_mcp.host.process_identity import Identity

ENVIRON = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


@dataclass(frozen=True)
class Vm:
    """One machine and the engine that runs it."""

    machines: QemuEngine
    identity: Identity
    sockets: Path

    def run(self, *argv: str | bytes, **options: Any) -> Outcome:
        """Run one command; the options are those of `Command`."""
        with self.machines.guest(self.sockets) as guest:
            return guest.run(Command(argv, **{"environ": ENVIRON, **options}))

    def sh(self, script: str, **options: Any) -> str:
        """What a shell script that must succeed prints."""
        done = self.run("sh", "-euc", script, **options)
        assert done.exit_code == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()

    @property
    def qemu(self) -> int:
        """The number of the QEMU process itself."""
        (pid,) = (pid for pid, name in processes_of(self.identity.pid) if name.startswith("qemu"))
        return pid


@contextmanager
def running(
    machines: QemuEngine,
    system: System,
    folder: Path,
    *,
    shape: Shape | None = None,
    lifetime_seconds: float = 120,
    baseline: Path | None = None,
) -> Iterator[Vm]:
    """A machine whose files are below `folder`, ended with the block."""
    request = StartRequest(
        system=system,
        shape=shape or Shape(),
        home=folder / "machine",
        sockets=folder / "sockets",
        hostname="tester",
        lifetime_seconds=lifetime_seconds,
        baseline=baseline,
    )
    request.home.mkdir()
    identity = machines.start(request)
    try:
        yield Vm(machines, identity, request.sockets)
    finally:
        machines.end(identity, request.sockets)


def processes_of(group: int) -> Iterator[tuple[int, str]]:
    """Number and name of every process in a process group that has not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = path.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, its_group, *_ = after.split()
        if state not in "ZX" and int(its_group) == group:
            yield int(path.parent.name), before.partition("(")[2]
