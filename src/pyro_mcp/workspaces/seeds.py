"""The source of a new workspace's content, and what is recorded of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.results import WorkspaceSeed
from pyro_mcp.trees import Seed

SeedOrigin = tuple[Literal["manual_seed_path", "project_path", "repo_url"], str]
"""Who named a seed, and as what: a path, or a repository and its commit."""
_LARGEST_ID = 2**32 - 2  # chown(2) takes the largest number for "leave it as it is"
NO_SEED: WorkspaceSeed = {
    "mode": "empty", "seed_path": None, "destination": "/workspace", "entry_count": 0, "size_bytes": 0, "skipped": [],
    "ignored_count": 0, "ignored_bytes": 0, "likely_secrets": [], "remarks": [],
    "origin_kind": "empty", "origin_ref": None,
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where a seed comes from, and what of it is wanted."""

    path: Path | None
    """None for an empty tree."""
    origin: SeedOrigin | None
    no_ignored: bool
    owner: int
    """The number of the guest's user and group that own all of it."""
    left_out: Sequence[str] = ()
    """Paths that are not copied."""

    @property
    def left_out_paths(self) -> list[bytes]:
        """The bytes of the paths that are not copied."""
        return [os.fsencode(path) for path in self.left_out]

    def __post_init__(self) -> None:
        if isinstance(self.owner, bool) or not isinstance(self.owner, int) or not 0 <= self.owner <= _LARGEST_ID:
            raise InvalidRequest(
                f"{self.owner!r} is not the number of a user", hint=f"it is 0 (root) to {_LARGEST_ID}, for example 1000"
            )


def described(seed: Seed, source: Source) -> WorkspaceSeed:
    """Return what is recorded of a seed for the life of the workspace."""
    path = "" if source.path is None else str(source.path.absolute())
    kind, reference = source.origin or ("manual_seed_path", path)
    return {
        # What was cloned for this is gone by the time that somebody reads its path.
        "mode": seed.mode, "seed_path": path if kind != "repo_url" else None, "destination": "/workspace",
        "entry_count": seed.entry_count, "size_bytes": seed.size_bytes, "skipped": seed.skipped,
        "ignored_count": seed.ignored_count, "ignored_bytes": seed.ignored_bytes,
        "likely_secrets": seed.likely_secrets, "remarks": seed.remarks,
        "origin_kind": kind, "origin_ref": reference,
    }  # fmt: skip
