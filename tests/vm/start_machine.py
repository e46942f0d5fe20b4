"""Start one machine and end it: `python -m tests.vm.start_machine CACHE MEM_MIB FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.interface import Shape
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.machines.images import Images
from tests.vm.running_vm import running

cache = Path(sys.argv[1])
images = Images(EnvironmentStore(cache))
system = images.system(images.pulled("debian:12"))
with running(GuestEngine(cache), system, Path(sys.argv[3]), shape=Shape(mem_mib=int(sys.argv[2]))):
    pass
