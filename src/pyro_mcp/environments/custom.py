"""Custom environments: those that users save from a workspace or build from a Dockerfile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pyro_mcp.environments.layer import LayerWriter, write_image_layout
from pyro_mcp.environments.oci import LAYOUT, unpack
from pyro_mcp.environments.source import RootFilesystem, SourceKind
from pyro_mcp.errors import EnvironmentFailed
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.host.progress import Progress

_MAX_NAMED = 100

CustomKind = Literal["saved", "built"]


class CustomSource:
    """A custom environment that exists. It cannot be made again from its name alone."""

    version: str | None = None
    packages: tuple[str, ...] = ()
    programs: Mapping[str, str] = MappingProxyType({})

    def __init__(self, name: str, kind: CustomKind, description: str) -> None:
        self.name = name
        self.kind: SourceKind = kind
        self.description = description

    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        raise EnvironmentFailed(
            f"the files of {self.name} are damaged",
            hint=Hint("save or build it again with {}", Argument("replace", True)),
        )


@dataclass(frozen=True)
class CustomDetails:
    """What is recorded with a new custom environment in addition to its files."""

    kind: CustomKind
    description: str
    environ: Mapping[str, str]
    origin: Mapping[str, object]


class StreamedSource(CustomSource):
    """A new custom environment. `stream` writes its root filesystem, one entry after another, into a layer."""

    def __init__(self, name: str, details: CustomDetails, stream: Callable[[LayerWriter], None]) -> None:
        super().__init__(name, details.kind, details.description)
        self._details = details
        self._stream = stream

    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        with open(work / "layer.tar", "wb") as file:
            layer = LayerWriter(file)
            self._stream(layer)
            digest = layer.finish()
        progress("unpacking", 0.6)
        write_image_layout(work / LAYOUT, work / "layer.tar", digest)
        unpack(self.name, work)
        origin = {**self._details.origin, "left_out": layer.left_out[:_MAX_NAMED]}
        metadata = {"kind": self.kind, "description": self.description, "origin": origin}
        return RootFilesystem(work / "root", digest, dict(self._details.environ), metadata)
