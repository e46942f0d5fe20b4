"""The three programs of such a machine: its kernel, the daemon that serves its disks, and its other devices.

The kernel reaches its devices over vhost-user sockets, so its own cage holds no disk, no network and no client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.engine.interface import Shape
from pyro_mcp.engine.qemu import disk_nodes
from pyro_mcp.engine.sockets import MachineSockets

WAIT_FOR_SPACE_FILE = Path(__file__).parent.with_name("wait-for-space.so")
KERNEL_FILE = Path(__file__).parent.with_name("pyro-kernel")
DEVICES_FILE = Path(__file__).parent.with_name("pyro-devices")

KERNEL, INITRAMFS, DEVICES = "/kernel", "/initramfs", "/pyro-devices"
WAIT_FOR_SPACE, WAITING = "/wait-for-space.so", "/waiting"
"""The object that the daemon of the disks loads, and the file that it locks, inside the daemon's cage."""
VHOST = "/vhost"
"""The folder of the vhost-user sockets, inside the kernel's cage."""
MEMORY = "/memory"
"""The tmpfs that holds the guest's memory, inside the kernel's cage."""
_PORTS, _NETWORK = "ports", "network"
# virtio_ids.h
_NET_ID, _BLOCK_ID, _CONSOLE_ID = 1, 2, 3
_WRITABLE_DISKS = ("vdb", "vdd")
# As for QEMU: every failure of the guest's kernel ends the machine. `lpj` spares it measuring a loop for 50 ms.
# The last three: hash tables for 100,000s of files and connections would be 2 MB that each machine writes at boot.
_KERNEL_LINE = (
    "seccomp=on", "con=null", "con0=fd:0,fd:1", "quiet", "loglevel=4", "panic=-1", "noreboot", "lpj=10000000",
    "lsm=landlock", "dhash_entries=16384", "ihash_entries=8192", "thash_entries=1024",
)  # fmt: skip


@dataclass(frozen=True)
class UmlSockets(MachineSockets):
    """The sockets of a machine; `output` and `network` say which devices it has besides those that all have."""

    output: bool = False
    network: bool = False

    @property
    def vhost(self) -> Path:
        """The folder of the sockets that the kernel connects to."""
        return self.folder / "vhost"

    @property
    def disks(self) -> list[str]:
        return ["vda", "vdb", "vdc", *(["vdd"] if self.output else [])]

    @property
    def devices(self) -> dict[str, int]:
        """The kernel's devices in the order in which it finds them: the names of their sockets, their virtio ids."""
        network = {_NETWORK: _NET_ID} if self.network else {}
        return {**dict.fromkeys(self.disks, _BLOCK_ID), _PORTS: _CONSOLE_ID, **network}

    @property
    def all(self) -> list[Path]:
        return [*super().all, *(self.vhost / name for name in self.devices)]


class Descriptors:
    """The numbers of a machine's open sockets, and of its tap device, by the name of what they serve."""

    def __init__(self, sockets: UmlSockets, fds: Sequence[int], tap: int) -> None:
        # Each program keeps `life`: whoever kills the machine waits until the last of them has closed it.
        self.life, self.monitor, *rest = fds
        vhost = len(sockets.devices)
        self.slots = rest[:-vhost]
        self.vhost: Mapping[str, int] = dict(zip(sockets.devices, rest[-vhost:], strict=True))
        self.tap = tap
        self.of_disks = [self.life, self.monitor, *(self.vhost[name] for name in sockets.disks)]
        self.of_devices = [
            self.life,
            *self.slots,
            self.vhost[_PORTS],
            *([self.vhost[_NETWORK], tap] if sockets.network else []),
        ]


def kernel_argv(shape: Shape, sockets: UmlSockets) -> list[str]:
    """The kernel's command line, the same for every machine of a shape."""
    return [
        KERNEL, *_KERNEL_LINE, f"mem={shape.mem_mib}M", f"ncpus={shape.vcpu_count}", f"initrd={INITRAMFS}",
        *(f"virtio_uml.device={VHOST}/{name}:{number}" for name, number in sockets.devices.items()),
    ]  # fmt: skip


def disks_argv(program: Path, layers: Sequence[str], sockets: UmlSockets, fds: Descriptors) -> list[str]:
    """The command line of the daemon that serves the disks; `layers` names those of the writable one, lowest first."""
    argv = [str(program), "--chardev", f"socket,id=monitor,fd={fds.monitor},server=on,wait=off"]
    argv += ["--monitor", "chardev=monitor"]
    for name, node in zip(sockets.disks, disk_nodes(layers, output=sockets.output), strict=False):
        writable = "on" if name in _WRITABLE_DISKS else "off"
        where = f"addr.type=fd,addr.str={fds.vhost[name]}"
        argv += ["--blockdev", json.dumps(node)]
        argv += ["--export", f"vhost-user-blk,id={name},node-name={node['node-name']},writable={writable},{where}"]
    return argv


def devices_argv(fds: Descriptors) -> list[str]:
    """The command line of the program that serves the agent's ports and the network."""
    argv = [DEVICES, f"ports={','.join(map(str, [fds.vhost[_PORTS], *fds.slots]))}"]
    return [*argv, f"network={fds.vhost[_NETWORK]},{fds.tap}"] if _NETWORK in fds.vhost else argv
