"""The chain of layers behind the disk of a running machine, kept short.

Every layer costs time when a machine starts, so the chain is bounded. QEMU merges in the background: it copies what
several frozen layers hold into the one that is written (`block-stream`), then leaves them out. A merge that is broken
off harms nothing, because the longer chain and the shorter one hold the same: the layers that were left out stay on
the disk until the shorter chain is on record and no snapshot needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pyro_mcp.engine.qemu.command_line import BLANK_NODE
from pyro_mcp.engine.qemu.qmp import Monitor
from pyro_mcp.errors import GuestFailed

MERGE_ABOVE = 16
"""A chain with more frozen layers than this is merged in the background."""
_FEWEST_MERGED = 8
_JOB = "merge"


def lowest_to_merge(sizes: Sequence[int]) -> int:
    """The index of the lowest layer of a merge that takes it and everything above; `sizes` begins with the lowest.

    A large layer is merged again only after as much has gathered above it, so in the long run each byte is copied
    about as often as the number of layers can be halved.
    """
    start = max(0, len(sizes) - _FEWEST_MERGED)
    while start > 0 and sizes[start - 1] < sum(sizes[start:]):
        start -= 1
    return start


def finish_merge(qmp: Monitor, layers: Sequence[str], *, wait: bool) -> tuple[str, ...]:
    """End the merge that may be going on, and return the layers in use, lowest first.

    `layers` are those on record; some may have been merged away since, or never been put to use. With `wait` the
    merge is waited for, else it is cancelled.
    """
    if _JOB in _names(qmp.execute("query-jobs"), "id"):
        if not wait:
            with suppress(GuestFailed):  # it has ended in this moment
                qmp.execute("job-cancel", id=_JOB)
        _await_end(qmp)
    top = qmp.execute("qom-get", path="/machine/peripheral/vdb", property="drive")
    if top not in layers:
        raise GuestFailed("QEMU does not know the machine's writable disk")
    below = tuple(layers[: layers.index(top)])
    if len(below) <= MERGE_ABOVE:
        return (*below, top)  # too few for a merge to have been begun
    for name in reversed(below):
        with suppress(GuestFailed):  # QEMU refuses to remove a layer that is in use
            qmp.execute("blockdev-del", node_name=name)
    in_use = _names(qmp.execute("query-named-block-nodes", flat=True), "node-name")
    return (*(name for name in below if name in in_use), top)


def start_merge(qmp: Monitor, layers: Sequence[str], sizes: Sequence[int], *, wait: bool = False) -> None:
    """Begin to copy the upper frozen layers into the one that is written, the last of `layers`.

    `sizes` are those of the frozen ones. With `wait` return when it has ended, well or not.
    """
    start = lowest_to_merge(sizes)
    base = layers[start - 1] if start else BLANK_NODE
    qmp.execute("block-stream", job_id=_JOB, device=layers[-1], base_node=base)
    if wait:
        _await_end(qmp)


def _await_end(qmp: Monitor) -> None:
    qmp.wait_event("JOB_STATUS_CHANGE", id=_JOB, status="null")


def _names(answer: object, key: str) -> set[object]:
    """What is under `key` in each object of a list that QEMU answered with."""
    return {one.get(key) for one in answer if isinstance(one, dict)} if isinstance(answer, list) else set()
