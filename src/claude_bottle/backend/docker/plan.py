"""The plan of a bottle in a container."""

from __future__ import annotations

from dataclasses import dataclass

from claude_bottle.backend.docker.names import Names
from claude_bottle.backend.interface import BottlePlan
from claude_bottle.manifest import BottleConfig


@dataclass(frozen=True, kw_only=True)
class DockerPlan(BottlePlan):
    """What a launch makes in the daemon; `runtime` is None for the daemon's own choice."""

    runtime: str | None = None

    @property
    def names(self) -> Names:
        """The names of the bottle in the daemon."""
        return Names(self.slug, self.stage_dir)

    @property
    def bottle(self) -> BottleConfig:
        """The bottle of the manifest."""
        return self.spec.manifest.bottle_of(self.spec.agent_name)
