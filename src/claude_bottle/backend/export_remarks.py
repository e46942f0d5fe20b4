"""What people must know of a copy that was taken out of a bottle."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_mcp.results import Export


def export_remarks(done: Export) -> Sequence[str]:
    """Return one line for each thing that was left out, and for each file that a tool runs by itself."""
    more = done["skipped_count"] - len(done["skipped"])
    return [
        *(f"left out {one['path']}: {one['reason']}" for one in done["skipped"]),
        *([f"left out {more} more"] if more > 0 else []),
        *(f"look before you open it: {one['tool']} runs {one['path']} by itself" for one in done["self_running"]),
    ]
