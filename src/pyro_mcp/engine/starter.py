"""The part of an engine that depends on the accelerator: make what a start needs, and start."""

from __future__ import annotations

from typing import Protocol

from pyro_mcp.engine.interface import Preparation, Shape, StartRequest, System, TemplateState
from pyro_mcp.errors import GuestFailed
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.progress import Progress


class NotBooted(GuestFailed):
    """The guest's kernel did not reach its agent on this accelerator; it may on another."""


class Starter(Protocol):
    """Starts machines on one or several accelerators. What happens to a running machine does not depend on it.

    `accelerator` and `StartRequest.accelerator` name one of this starter's own accelerators.
    """

    def template_state(self, system: System, shape: Shape, accelerator: str) -> TemplateState:
        """Return whether a start would find a template; "warm" when a start needs none."""

    def prepare(self, system: System, shape: Shape, accelerator: str, progress: Progress) -> Preparation:
        """Make what starts of this shape need; see `Engine.prepare`. Raises `NotBooted`."""

    def start(self, request: StartRequest, system: System, progress: Progress) -> Identity:
        """Start a machine of `system`, which is that of the request; see `Engine.start`. Raises `NotBooted`."""

    def spare_key(self, system: System, shape: Shape, accelerator: str) -> str:
        """Return a digest of all that shapes a spare of this shape."""

    def remove_leftovers(self) -> None:
        """End the machines and remove the scratch folders of processes that were killed while they prepared."""

    def prune_templates(self) -> int:
        """Remove every template that no machine uses; return the number of bytes freed."""

    def template_bytes(self) -> int:
        """Return how many bytes all templates occupy on the disk."""
