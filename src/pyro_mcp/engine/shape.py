"""What a machine looks like, and what it is made of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import InvalidRequest

MIN_MEM_MIB = 192
MAX_MEM_MIB = 262144
MAX_VCPUS = 64


@dataclass(frozen=True)
class Shape:
    """Virtual processors and memory (MiB) of a machine, and whether it has a network device.

    Raises `InvalidRequest` for what cannot boot.
    """

    vcpu_count: int = 1
    mem_mib: int = 1024
    network: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.vcpu_count, int) and isinstance(self.mem_mib, int)):
            raise InvalidRequest("the number of processors and the MiB of memory are whole numbers")
        if not 1 <= self.vcpu_count <= MAX_VCPUS:
            raise InvalidRequest(f"a machine has 1 to {MAX_VCPUS} virtual processors, not {self.vcpu_count}")
        if not MIN_MEM_MIB <= self.mem_mib <= MAX_MEM_MIB:
            raise InvalidRequest(f"a machine has {MIN_MEM_MIB} to {MAX_MEM_MIB} MiB of memory, not {self.mem_mib}")


@dataclass(frozen=True)
class System:
    """The files a machine boots from; all are read-only and shared by every machine that uses them.

    `modules` are the kernel modules the agent loads, in load order. The digests name the contents.
    """

    vmlinuz: Path
    kernel_digest: str
    modules: tuple[Path, ...]
    root: Path
    root_digest: str


# Needed to reach the disks and ports, in the words of the kernel; their dependencies come with them.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "virtio_net", "overlay", "erofs")


def agent_binary() -> Path:
    """The guest agent that was built with this package."""
    return Path(os.path.dirname(__file__), "pyro-agent")


def tool_binary() -> Path:
    """The guest's file tool that was built with this package."""
    return Path(os.path.dirname(__file__), "pyro-tool")


def session_binary() -> Path:
    """The guest's keeper of sessions that was built with this package."""
    return Path(os.path.dirname(__file__), "pyro-session")
