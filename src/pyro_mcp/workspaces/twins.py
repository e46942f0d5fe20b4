"""A second machine on the disk of another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from pyro_mcp.engine import Layers
from pyro_mcp.host.files import private_directory
from pyro_mcp.workspaces.lifecycle import Lifecycle, new_layer_name
from pyro_mcp.workspaces.links import NO_LINK, Link
from pyro_mcp.workspaces.store import Record


def make_twin(
    lifecycle: Lifecycle,
    new_id: str,
    record: Record,
    layers: Sequence[str],
    *,
    ttl_seconds: float,
    one_shot: bool = False,
    link: Link = NO_LINK,
) -> Record:
    """Register a machine whose disk begins as `layers` of another; nothing of it is copied, nothing runs yet.

    The layers must not be written any more. Each machine's links keep the files alive for itself.
    """
    home, others = (private_directory(lifecycle.folders.home(id_)) for id_ in (new_id, record.id))
    Layers(home).adopt(Layers(others), layers)
    with suppress(FileNotFoundError):
        os.link(others / "baseline.erofs", home / "baseline.erofs")
    return lifecycle.create(
        new_id,
        record.environment,
        record.environment_version,
        record.shape,
        ttl_seconds=ttl_seconds,
        allow_host_compat=False,
        layers=(*layers, new_layer_name()),
        generation=record.generation,
        one_shot=one_shot,
        link=link,
    )
