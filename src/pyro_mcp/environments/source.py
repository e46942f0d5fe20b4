"""What every origin of environments has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pyro_mcp.host.progress import Progress


@dataclass(frozen=True)
class RootFilesystem:
    """A root filesystem as files on the host, owned as inside the guest (see `fakeroot`).

    `facts` is what is recorded of it besides.
    """

    path: Path
    version: str
    environ: dict[str, str]
    facts: Mapping[str, object] = field(default_factory=dict)


class Source(Protocol):
    """One way to get one environment."""

    name: str
    kind: Literal["debian", "oci", "saved", "built"]
    version: str | None
    """What is current, when that can be known without asking anybody; else None."""
    description: str
    packages: tuple[str, ...]

    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        """Make the tree somewhere below `work`, an empty folder. Raises `EnvironmentFailed` or `NoSpace`."""
