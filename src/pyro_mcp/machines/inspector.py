"""A second machine on the disk of another, in which nothing runs but our agent and our tool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pyro_mcp.engine import Connection
from pyro_mcp.machines.fork import register_fork
from pyro_mcp.machines.images import Images
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.machine_store import MachineRecord
from pyro_mcp.machines.phases import GUEST

_TTL_SECONDS = 3600


@contextmanager
def register_inspector(lifecycle: Lifecycle, record: MachineRecord, layers: Sequence[str]) -> Iterator[MachineRecord]:
    """Register a machine on `layers` of another, which must not be written any more; delete it after the block."""
    with lifecycle.reserve_id("in") as inspector_id:
        made = register_fork(lifecycle, inspector_id, record, layers, ttl_seconds=_TTL_SECONDS, one_shot=True)
        yield replace(made, root_digest=record.root_digest)  # started only on the very image that the disk lies upon
        lifecycle.delete(lifecycle.store.get(inspector_id))


@contextmanager
def start_inspector(
    lifecycle: Lifecycle, images: Images, inspector: MachineRecord, output: Path | None = None
) -> Iterator[Connection]:
    """Start a registered inspector; `output` is a file that it may write as a disk."""
    inspector = lifecycle.start(inspector, images.of_disk(inspector), GUEST, output=output)
    with lifecycle.connect(inspector) as connection:
        yield connection
