"""A network namespace for a machine of smolvm, and the egress gateway as its only way out.

The virtual machine of smolvm makes the guest's connections itself, as sockets of its process on the host, by default
without any network card. So the process runs in a namespace that has only the gateway. The guest's connections to
127.0.0.1 end in the namespace too, not at the services of this host.
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.errors import HostNotReady
from pyro_mcp.host.process import child_environment
from pyro_mcp.host.programs import require_program

_READY = b"ready\n"
_SECONDS = 30.0


@contextmanager
def network_namespace() -> Iterator[Path]:
    """Yield the path of a new network namespace, which ends with the block unless a process has joined it."""
    holder = subprocess.Popen(
        # The holder ends with its input, so it does not outlive this process.
        [require_program("unshare"), "--net", "sh", "-c", "echo ready; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(),
        start_new_session=True,
    )
    with holder:
        assert holder.stdout is not None and holder.stderr is not None
        try:
            if not select.select([holder.stdout], [], [], _SECONDS)[0] or holder.stdout.readline() != _READY:
                holder.kill()
                said = holder.stderr.read().decode(errors="replace").strip()
                raise HostNotReady(f"cannot make a network namespace: {said}", hint="run claude-bottle as root")
            yield Path(f"/proc/{holder.pid}/ns/net")
        finally:
            holder.kill()


def is_in(pid: int, namespace: Path) -> bool:
    """Return whether a process is in a network namespace."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat(namespace))
    except FileNotFoundError:
        return False
