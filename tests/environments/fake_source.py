"""A source of environments that needs no network: it writes one file, and notes each build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pyro_mcp.environments.catalog import CATALOG
from pyro_mcp.environments.source import RootFilesystem, SourceKind
from pyro_mcp.host.progress import Progress


class FakeSource:
    """Builds `size` bytes; every build adds a line to `journal`. With `rendezvous` (a FIFO) it waits there first."""

    kind: SourceKind = "debian"
    version: str | None = "1"
    description = "a fake"
    packages: tuple[str, ...] = ()
    programs: Mapping[str, str] = MappingProxyType({})

    def __init__(self, name: str, journal: Path, *, size: int = 10, rendezvous: Path | None = None) -> None:
        self.name = name
        self._journal = journal
        self._size = size
        self._rendezvous = rendezvous

    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        with self._journal.open("a") as journal:
            journal.write(f"{self.name}\n")
        progress("building", None)
        if self._rendezvous:
            self._rendezvous.read_bytes()
        root = work / "root"
        (root / "etc").mkdir(parents=True)
        (root / "etc/data").write_bytes(b"x" * self._size)
        return RootFilesystem(root, self.version or CATALOG[self.name].version, {"NAME": self.name})
