"""Let a spare become the machine that somebody asks for: give it that machine's folders, disks and identity.

The folder of its sockets moves in one step. The spare's processes work in that folder, and so belong to the machine
from then on: whenever this process dies, either the spare's home or the machine's leads to them. Before that step the
spare sees nothing of the machine's; at every moment the machine's home holds all of its layers.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from pyro_mcp.engine import processes
from pyro_mcp.engine.disks import BlankDisks, DiskLayers
from pyro_mcp.engine.interface import StartRequest
from pyro_mcp.engine.lifetime import set_lifetime
from pyro_mcp.engine.panic import MACHINE_LOG
from pyro_mcp.engine.qemu import attach_disks
from pyro_mcp.engine.slots import connected
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.user_ids import move_ids

# A spare that answers nothing for so long is given up; a start from the beginning takes less than this.
_ANSWER_SECONDS = 2.0


def become_machine(spare: Path, identity: Identity, request: StartRequest, blank: BlankDisks) -> None:
    """Let the spare in the home `spare` become the machine of `request`; no process of it runs when this raises."""
    its_sockets = MachineSockets(spare / "sockets")
    try:
        set_lifetime(request.home, request.lifetime_seconds)
        move_ids(spare, request.home)
        shutil.rmtree(request.sockets, ignore_errors=True)
        its_sockets.folder.rename(request.sockets)
        its_sockets = MachineSockets(request.sockets)
        with suppress(FileNotFoundError):
            (spare / MACHINE_LOG).rename(request.home / MACHINE_LOG)
        layers = DiskLayers(request.home)
        layers.take_folders(DiskLayers(spare))
        layers.prepare(request.layers, blank, new_disk=request.new_disk)
        attach_disks(its_sockets.monitor, layers, request.layers, request.baseline, deadline_seconds=_ANSWER_SECONDS)
        with connected(request.sockets, deadline_seconds=_ANSWER_SECONDS) as guest:
            guest.hello(deadline_seconds=_ANSWER_SECONDS)
            guest.setup(hostname=request.hostname, files=request.files, generation=request.generation)
    except BaseException:
        processes.kill(identity, its_sockets)
        raise
