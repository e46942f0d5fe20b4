"""Create, use and delete a machine, and be killed at one moment of that.

`python -m tests.vm.killed_machine_client TARGET before|after COUNT cli|sdk`: see `die_at`.
"""

from __future__ import annotations

import sys

from pyro_mcp import Pyro
from pyro_mcp.cli import main
from tests.vm.kill_point import die_at

target, when, count, surface = sys.argv[1:]
die_at(target, after=when == "after", count=int(count))
if surface == "cli":
    main(["run", "debian:12", "--", "echo", "hello"])
else:
    pyro = Pyro()
    vm_id = pyro.create_vm("debian:12")["vm_id"]
    pyro.start_vm(vm_id)
    pyro.stop_vm(vm_id)
    pyro.start_vm(vm_id)
    pyro.delete_vm(vm_id)
