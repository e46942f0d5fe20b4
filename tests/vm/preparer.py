"""Prepares a template and prints whether it was made: `python -m tests.vm.preparer CACHE MEM_MIB [DIE_AFTER]`."""

from __future__ import annotations

import sys
from pathlib import Path

from pyro_mcp.engine.interface import Shape
from pyro_mcp.engine.qemu.machines import QemuEngine
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.machines.images import Images
from tests.vm.kill_point import die_at

cache, mem_mib, moment = sys.argv[1:]
if moment:
    die_at(moment, after=True)
images = Images(EnvironmentStore(Path(cache)))
system = images.system(images.pulled("debian:12"))
preparation = QemuEngine(Path(cache)).prepare(system, Shape(mem_mib=int(mem_mib)))
sys.stdout.write("reused\n" if preparation.reused else "made\n")
