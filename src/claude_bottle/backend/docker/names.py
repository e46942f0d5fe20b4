"""The names and labels of a bottle's containers and volumes, by which alone they are found again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

STAGE_LABEL = "claude-bottle.stage"
"""The label with the stage folder of a bottle: it distinguishes the bottles of users who share a daemon."""
SLUG_LABEL = "claude-bottle.slug"
"""The label with the name of a bottle; only the agent's container has it, not one that reads the tree."""


@dataclass(frozen=True)
class Names:
    """The names of one bottle."""

    slug: str
    stage: Path

    @property
    def container(self) -> str:
        return f"claude-bottle-{self.slug}-{hashlib.sha256(str(self.stage).encode()).hexdigest()[:8]}"

    @property
    def tree(self) -> str:
        return f"{self.container}-tree"

    @property
    def baseline(self) -> str:
        return f"{self.container}-baseline"

    @property
    def label(self) -> str:
        """The label that everything of the bottle has."""
        return f"{STAGE_LABEL}={self.stage}"

    @property
    def gateway(self) -> Path:
        """The folder of the gateway's control socket."""
        return self.stage / "gateway"

    @property
    def deadline(self) -> Path:
        """The file with the end of its lifetime."""
        return self.stage / "deadline"

    @property
    def network_log(self) -> Path:
        """The log of the gateway, in a folder that belongs to this bottle alone."""
        return self.stage / "network.log"
