"""Environments."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class EnvironmentSummary(TypedDict):
    """One environment as a list shows it."""

    name: str
    version: str
    """The recipe's version, or the manifest digest for `oci:` names."""
    source: Literal["debian", "oci", "saved", "built"]
    """Built by us, fetched from a registry, or the user's own: saved from a workspace, built from a Dockerfile."""
    description: str
    installed: bool
    size_bytes: int | None
    """Size of the installed image file; None when it is not installed."""


class EnvironmentDetails(EnvironmentSummary):
    """One environment with all that is known about it; what only a build can tell is None until it is installed."""

    packages: list[str]
    """The Debian packages that the recipe asks for; empty for `oci:` names."""
    programs: dict[str, str]
    """The programs that the recipe adds to them, with their versions."""
    path: str | None
    """The image file: EROFS, read-only."""
    digest: str | None
    """Digest of the image file."""
    environ: dict[str, str]
    """The default environment of its commands; empty when it is not installed."""
    built_at: float | None
    """Moment of the build."""
    origin: dict[str, Any]
    """What one of the user's own came from: `parent`, `parent_digest` and more; else empty."""


class EnvironmentExported(TypedDict):
    """The root files of an environment as a tar file."""

    name: str
    version: str
    output_path: str | None
    """None for what was written to an open file."""
    digest: str
    """Digest of the tar file."""
    entry_count: int
    size_bytes: int
    """Size of all files in it."""
    environ: dict[str, str]
    """The environment variables of its commands; a tar file cannot hold them."""
    left_out: list[str]
    """The first 100 paths that no image holds: devices and sockets."""


class EnvironmentDeleted(TypedDict):
    """An environment of the user's own that is gone."""

    name: str
    deleted: bool
    freed_bytes: int
    """Disk space given back."""


class PruneReport(TypedDict):
    """What a prune removed."""

    removed: list[str]
    """Each as "NAME VERSION"; leftovers of interrupted work are not named."""
    skipped: list[str]
    """Folders of the cache in which somebody was working at the time."""
    freed_bytes: int
    """Disk space given back."""


class EnvironmentList(TypedDict):
    """The catalogue, then what is installed of registries, then the user's own."""

    count: int
    environments: list[EnvironmentSummary]
