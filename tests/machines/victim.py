"""Does one thing to a machine and stops in the middle of it, to be killed there.

Arguments: where to stop. The machine is the real engine's, with `sleep` in place of QEMU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.interface import Started, StartRequest
from pyro_mcp.engine.processes import launch
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.host.files import cache_home
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.phases import GUEST
from tests.machines.conftest import IMAGE, create, lifecycle_with


class Sleepers(GuestEngine):
    """Machines that sleep; whoever makes one stops at `step`."""

    def __init__(self, step: str) -> None:
        super().__init__(cache_home())
        self.step = step

    def start(self, request: StartRequest, progress: Progress = silent) -> Started:
        words = ["/usr/bin/timeout", "--signal=KILL", "60"]
        words += ["/bin/sh", "-c", "sleep 60; true", "sh", f"{request.home}/disk"]
        identity = launch(lambda _: words, MachineSockets(request.sockets), request.home / "log")
        self.reach("start")
        return Started(identity, "tcg")

    def power_off(
        self, identity: Identity, sockets: Path, when_flushed: Callable[[], object], progress: Progress = silent
    ) -> None:
        when_flushed()
        self.reach("power off")
        super().kill(identity, sockets)

    def kill(self, identity: Identity, sockets: Path) -> None:
        self.reach("end")
        super().kill(identity, sockets)
        self.reach("ended")

    def reach(self, step: str) -> None:
        """Stop here when it is the place."""
        if step == self.step:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            sys.stdin.read()


def main(step: str) -> None:
    engine = Sleepers(step)
    lifecycle = lifecycle_with(engine)
    if step == "making":
        make(lifecycle, engine)
    with lifecycle.lock_exclusive(create(lifecycle).id) as created:
        record = lifecycle.start(created, IMAGE, GUEST)
        engine.reach("running")
        if step in ("end", "ended"):
            lifecycle.delete(record)
    with lifecycle.lock_turnstile(record.id):
        if step == "power off":
            lifecycle.stop(record)
        else:
            engine.step = "end"
            lifecycle.reset(record, IMAGE, ())


def make(lifecycle: Lifecycle, engine: Sleepers) -> None:
    with lifecycle.reserve_id("vm") as id_:
        lifecycle.folders.home(id_).mkdir(parents=True)
        engine.reach("making")


if __name__ == "__main__":
    main(sys.argv[1])
