"""Play one story in the namespaces that this is started in: `python -m tests.network.play NAME FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.network import address_stories, stories
from tests.network.story import STORIES
from tests.network.world import World

__all__ = ["MODULES", "STORIES"]

MODULES = (address_stories, stories)
"""Where stories are; importing them fills `STORIES`."""

if __name__ == "__main__":
    with World(Path(sys.argv[2])) as the_world:
        STORIES[sys.argv[1]](the_world)
