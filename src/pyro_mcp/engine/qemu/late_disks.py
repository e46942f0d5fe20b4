"""Put a machine's own disks in the place of those that its spare was started with.

The guest's devices stay, and so do the nodes that they use; `blockdev-reopen` puts other nodes below these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.engine.disks import DiskLayers
from pyro_mcp.engine.qemu.command_line import BASELINE_NODE, FROZEN, LATE_NODE, layer_chain, raw_node
from pyro_mcp.engine.qemu.qmp import monitor

# The baseline's block node and, while it is opened, its file among the frozen layers.
_SEED = "seed"


def attach_disks(
    monitor_socket: Path, files: DiskLayers, layers: Sequence[str], baseline: Path | None, *, deadline_seconds: float
) -> None:
    """Give a spare the disk made of `layers`, lowest first, and the baseline of /workspace; its cage shows `files`.

    Raises `GuestGone`, `GuestFailed` or `DeadlineExceeded`; the spare is then of no use any more.
    """
    with monitor(monitor_socket, deadline_seconds=deadline_seconds) as qmp:
        qmp.execute("blockdev-add", **layer_chain(layers))
        qmp.execute("blockdev-reopen", options=[raw_node(LATE_NODE, layers[-1], writable=True)])
        if baseline is not None:
            with _visible(baseline, files) as path:
                qmp.execute("blockdev-add", **raw_node(_SEED, {"driver": "file", "filename": path}))
            qmp.execute("blockdev-reopen", options=[raw_node(BASELINE_NODE, _SEED)])


@contextmanager
def _visible(baseline: Path, files: DiskLayers) -> Iterator[str]:
    """Show the baseline in the cage for the time of the block; yield its path there."""
    link = files.frozen / _SEED
    link.unlink(missing_ok=True)  # left by a process that was killed
    os.link(baseline, link)
    try:
        yield f"{FROZEN}/{_SEED}"
    finally:
        link.unlink()
