"""The result shapes that every surface shares: what `--json` prints, the SDK returns and MCP sends.

All are JSON-ready. Sizes are bytes, moments are seconds since 1970 (UTC), digests are "sha256:" and 64 hex digits.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class EnvironmentSummary(TypedDict):
    """One environment as a list shows it."""

    name: str
    version: str
    """The recipe's version, or the manifest digest for `oci:` names."""
    source: Literal["debian", "oci"]
    description: str
    installed: bool
    size_bytes: int | None
    """Size of the installed image file; None when it is not installed."""


class EnvironmentDetails(EnvironmentSummary):
    """One environment with all that is known about it; what only a build can tell is None until it is installed."""

    packages: list[str]
    """The Debian packages that the recipe asks for; empty for `oci:` names."""
    path: str | None
    """The image file: EROFS, read-only."""
    digest: str | None
    """Digest of the image file."""
    environ: dict[str, str]
    """The default environment of its commands; empty when it is not installed."""
    built_at: float | None
    """Moment of the build."""


class PruneReport(TypedDict):
    """What a prune removed."""

    removed: list[str]
    """Each as "NAME VERSION"; leftovers of interrupted work are not named."""
    skipped: list[str]
    """What somebody was working on at the time, as in `removed` but without a version."""
    freed_bytes: int
    """Disk space given back."""
