"""What every origin of environments has in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pyro_mcp.host.progress import Progress


@dataclass(frozen=True)
class Tree:
    """A root filesystem as files on the host, owned as inside the guest (see `fakeroot`)."""

    path: Path
    version: str
    environ: dict[str, str]


class Source(Protocol):
    """One way to get one environment."""

    name: str
    kind: Literal["debian", "oci"]
    version: str | None
    """What is current, when that can be known without asking anybody; else None."""
    description: str
    packages: tuple[str, ...]

    def build(self, work: Path, progress: Progress) -> Tree:
        """Make the tree somewhere below `work`, an empty folder. Raises `EnvironmentFailed` or `NoSpace`."""
