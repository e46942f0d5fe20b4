"""EnvironmentStore of the user's own: saved from a workspace, or built from a Dockerfile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyro_mcp.environments.layer import LayerWriter, write_layout
from pyro_mcp.environments.oci import LAYOUT, unpack
from pyro_mcp.environments.source import RootFilesystem
from pyro_mcp.errors import EnvironmentFailed
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.host.progress import Progress

_MOST_NAMED = 100

CustomKind = Literal["saved", "built"]


class CustomSource:
    """An environment that exists already; it cannot be made again from its name alone."""

    version: str | None = None
    packages: tuple[str, ...] = ()

    def __init__(self, name: str, kind: CustomKind, description: str) -> None:
        self.name = name
        self.kind: Literal["debian", "oci", "saved", "built"] = kind
        self.description = description

    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        raise EnvironmentFailed(
            f"the files of {self.name} are damaged",
            hint=Hint("save or build it again with {}", Argument("replace", True)),
        )


@dataclass(frozen=True)
class CustomDetails:
    """What is recorded of a new environment besides its files."""

    kind: CustomKind
    description: str
    environ: Mapping[str, str]
    origin: Mapping[str, object]


class StreamedSource(CustomSource):
    """A new environment whose files `stream` writes, one member after another."""

    def __init__(self, name: str, about: CustomDetails, stream: Callable[[LayerWriter], None]) -> None:
        super().__init__(name, about.kind, about.description)
        self._about = about
        self._stream = stream

    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        with open(work / "layer.tar", "wb") as file:
            layer = LayerWriter(file)
            self._stream(layer)
            digest = layer.finish()
        progress("unpacking", 0.6)
        write_layout(work / LAYOUT, work / "layer.tar", digest)
        unpack(self.name, work)
        origin = {**self._about.origin, "left_out": layer.left_out[:_MOST_NAMED]}
        facts = {"kind": self.kind, "description": self.description, "origin": origin}
        return RootFilesystem(work / "root", digest, dict(self._about.environ), facts)
