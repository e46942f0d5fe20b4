"""Merge the layers of a running machine's disk, so that their chain stays short.

Every layer costs time when a machine starts, so their number is limited. QEMU merges in the background: it copies what
several frozen layers hold into the written one (`block-stream`) and then drops them from the chain. An aborted merge
does no harm, because the longer chain and the shorter one hold the same data: the files of dropped layers stay on
the disk until the machine's record has the shorter chain and no snapshot needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pyro_mcp.engine.qemu.command_line import BLANK_NODE, LATE_NODE
from pyro_mcp.engine.qemu.qmp import Monitor
from pyro_mcp.errors import GuestFailed

MERGE_ABOVE = 16
"""The number of frozen layers above which a merge starts in the background."""
_FEWEST_MERGED = 8
_JOB = "merge"


def lowest_to_merge(sizes: Sequence[int]) -> int:
    """Return the index of the lowest layer to merge, with all above it. `sizes` are bytes, the lowest layer's first.

    A large layer is merged again only after as much has gathered above it, so in the long run each byte is copied
    about as often as the number of layers can be halved.
    """
    start = max(0, len(sizes) - _FEWEST_MERGED)
    while start > 0 and sizes[start - 1] < sum(sizes[start:]):
        start -= 1
    return start


def finish_merge(qmp: Monitor, layers: Sequence[str], *, wait: bool) -> tuple[str, ...]:
    """End a running merge, if there is one, and return the layers in use, lowest first.

    `layers` are those in the machine's record; some may have been merged since, or never been used. With `wait` the
    function waits for the merge, else it cancels it.
    """
    if _JOB in _names(qmp.execute("query-jobs"), "id"):
        if not wait:
            with suppress(GuestFailed):  # it has just ended
                qmp.execute("job-cancel", id=_JOB)
        _await_end(qmp)
    top = _top(qmp, layers)
    if top is None or top not in layers:
        raise GuestFailed("QEMU uses a writable disk that is not in the machine's record")
    below = tuple(layers[: layers.index(top)])
    if len(below) <= MERGE_ABOVE:
        return (*below, top)  # too few layers for a merge
    for name in reversed(below):
        with suppress(GuestFailed):  # QEMU refuses to remove a layer that is in use
            qmp.execute("blockdev-del", node_name=name)
    in_use = _names(qmp.execute("query-named-block-nodes", flat=True), "node-name")
    return (*(name for name in below if name in in_use), top)


def _top(qmp: Monitor, layers: Sequence[str]) -> str | None:
    """Return the layer of `layers` that the machine writes to, None when it writes to another."""
    node = _disk_node(qmp)
    if node != LATE_NODE:
        return node
    # The machine began as a spare: a node of the spare's is above the layers. What QEMU can remove was never in use.
    present = _names(qmp.execute("query-named-block-nodes", flat=True), "node-name")
    for name in reversed([layer for layer in layers if layer in present]):
        try:
            qmp.execute("blockdev-del", node_name=name)
        except GuestFailed:
            return name
    return None


def _disk_node(qmp: Monitor) -> str:
    """Return the node below the guest's second disk: QEMU's own device has it, or `qemu-storage-daemon` exports it."""
    for export in qmp.execute("query-block-exports"):
        if export.get("id") == "vdb":
            return str(export.get("node-name"))
    return str(qmp.execute("qom-get", path="/machine/peripheral/vdb", property="drive"))


def start_merge(qmp: Monitor, layers: Sequence[str], sizes: Sequence[int], *, wait: bool = False) -> None:
    """Start to copy the upper frozen layers into the written one, the last of `layers`.

    `sizes` are those of the frozen ones. With `wait`, return when the merge has ended, successfully or not.
    """
    start = lowest_to_merge(sizes)
    base = layers[start - 1] if start else BLANK_NODE
    qmp.execute("block-stream", job_id=_JOB, device=layers[-1], base_node=base)
    if wait:
        _await_end(qmp)


def _await_end(qmp: Monitor) -> None:
    qmp.wait_event("JOB_STATUS_CHANGE", id=_JOB, status="null")


def _names(answer: object, key: str) -> set[object]:
    """Return the values of `key` in the objects of a list that QEMU returned."""
    return {one.get(key) for one in answer if isinstance(one, dict)} if isinstance(answer, list) else set()
