"""Prepare a template and print "made" or "reused": `python -m tests.vm.prepare_template CACHE MEM_MIB KILL_AFTER`.

KILL_AFTER names the function after whose first call this process is killed; it may be empty.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.interface import Shape
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.machines.images import Images
from tests.vm.kill_point import die_at

cache, mem_mib, kill_after = sys.argv[1:]
if kill_after:
    die_at(kill_after, after=True)
images = Images(EnvironmentStore(Path(cache)))
system = images.system(images.pulled("debian:12"))
preparation = GuestEngine(Path(cache)).prepare(system, Shape(mem_mib=int(mem_mib)))
sys.stdout.write("reused\n" if preparation.reused else "made\n")
