"""A running machine for tests that use the engine itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.interface import Command, Outcome, Shape, StartRequest, System
from pyro_mcp.host.process_identity import Identity
from tests.vm.processes import kernel_process

ENVIRON = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


@dataclass(frozen=True)
class Vm:
    """One machine and the engine that runs it."""

    engine: GuestEngine
    identity: Identity
    sockets: Path
    accelerator: str

    def run(self, *argv: str | bytes, **options: Any) -> Outcome:
        """Run one command; the options are those of `Command`."""
        with self.engine.connect(self.sockets) as guest:
            return guest.run(Command(argv, **{"environ": ENVIRON, **options}))

    def sh(self, script: str, **options: Any) -> str:
        """Run a shell script that must succeed, and return its output."""
        done = self.run("sh", "-euc", script, **options)
        assert done.exit_code == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()

    @property
    def kernel(self) -> int:
        """The process that executes the guest's kernel."""
        return kernel_process(self.identity.pid)


@contextmanager
def running(
    engine: GuestEngine,
    system: System,
    folder: Path,
    *,
    shape: Shape | None = None,
    lifetime_seconds: float = 120,
    baseline: Path | None = None,
    accelerator: str = "",
) -> Iterator[Vm]:
    """Start a machine whose files are below `folder`, and end it with the block."""
    request = StartRequest(
        system=system,
        shape=shape or Shape(),
        home=folder / "machine",
        sockets=folder / "sockets",
        hostname="tester",
        lifetime_seconds=lifetime_seconds,
        baseline=baseline,
        accelerator=accelerator,
    )
    request.home.mkdir()
    started = engine.start(request)
    try:
        yield Vm(engine, started.identity, request.sockets, started.accelerator)
    finally:
        engine.kill(started.identity, request.sockets)
