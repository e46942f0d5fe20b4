"""The interface of environment sources, and what a source returns: a root filesystem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pyro_mcp.host.progress import Progress

SourceKind = Literal["debian", "oci", "saved", "built"]


@dataclass(frozen=True)
class RootFilesystem:
    """A root filesystem as files on the host, with the owners that they have in the guest (see `user_namespace`).

    `environ` are the environment variables of its commands; `metadata` is recorded with the image.
    """

    path: Path
    version: str
    environ: dict[str, str]
    metadata: Mapping[str, object] = field(default_factory=dict)


class Source(Protocol):
    """One way to get the root filesystem of one environment."""

    name: str
    kind: SourceKind
    version: str | None
    """The current version if it is known without a request to a registry, else None."""
    description: str
    packages: tuple[str, ...]
    programs: Mapping[str, str]
    """Versions of the programs that a recipe adds to the packages."""

    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        """Make the root filesystem below `work`, an empty folder. Raises `EnvironmentFailed` or `NoSpace`."""
