"""What the layers above ask of an engine, and nothing more; one file per kind of engine implements it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pyro_mcp.engine.accelerator import Accelerator
from pyro_mcp.engine.guest import Command, Outcome
from pyro_mcp.engine.launch import Identity
from pyro_mcp.engine.machines import Preparation, Readiness, Start
from pyro_mcp.engine.shape import Shape, System
from pyro_mcp.host.progress import Progress


class Session(Protocol):
    """A connection to one running machine."""

    def run(self, command: Command) -> Outcome: ...

    def begin(self, command: Command) -> tuple[int, int]: ...

    def flush(self, *, deadline_seconds: float = 60.0) -> None: ...


class Engine(Protocol):
    """Starts, reaches and ends machines."""

    @property
    def execution_mode(self) -> str:
        """`guest_virtio` for a real guest, `host_compat` for none."""

    def accelerator(self) -> Accelerator: ...

    def readiness(self, system: System, shape: Shape) -> Readiness: ...

    def prepare(self, system: System, shape: Shape, progress: Progress) -> Preparation: ...

    def sweep(self) -> None: ...

    def prune(self) -> int: ...

    def held_bytes(self) -> int: ...

    def start(self, request: Start, progress: Progress) -> Identity: ...

    def guest(
        self, sockets: Path, *, deadline_seconds: float = 10.0, lasting: bool = False
    ) -> AbstractContextManager[Session]: ...

    def make_layer(self, home: Path, name: str) -> None: ...

    def is_unused(self, home: Path, name: str) -> bool: ...

    def merge_layers(self, home: Path, sockets: Path, layers: Sequence[str]) -> None: ...

    def use_layer(self, home: Path, sockets: Path, layers: Sequence[str], name: str) -> tuple[str, ...]: ...

    def set_lifetime(self, home: Path, seconds: float) -> None: ...

    def alive(self, identity: Identity) -> bool: ...

    def power_off(
        self, identity: Identity, sockets: Path, when_flushed: Callable[[], object], progress: Progress
    ) -> None: ...

    def end(self, identity: Identity, sockets: Path) -> None: ...
