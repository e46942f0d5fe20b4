"""QEMU's command line. It holds only paths inside the cage, so it is the same for every machine of a shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pyro_mcp.engine.disks import DISK_BYTES
from pyro_mcp.engine.interface import Shape
from pyro_mcp.guest_protocol.frames import SLOTS

KERNEL, INITRAMFS = "/boot/vmlinuz", "/boot/initramfs"
ROOT, BLANK, BASELINE = "/disks/root", "/disks/blank", "/disks/baseline"
OUTPUT = "/disks/output"
BLANK_NODE = "blank"
"""The block node of the empty disk below every layer."""
LATE_NODE, BASELINE_NODE = "late", "baseline"
"""The block nodes of a spare's second and third disk, below which its own are attached later."""
LIVE, FROZEN = "/live", "/frozen"
"""The folders of the machine's layers: the written one, and the frozen ones."""
RAM, READONLY_RAM = "/ram", "/readonly-ram.so"

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
# All features, except those that make emulated page walks and mode switches slow (8 % in all).
_EMULATED_CPU = "max,-la57,-smap,-smep,-umip,-pku"
# Every failure of the guest's kernel ends QEMU. Mitigations between guest programs are off:
# the machine is the boundary, and under emulation they cost 8 %.
_KERNEL_LINE = (
    "quiet loglevel=4 console=ttyS0 panic=-1 reboot=t rdinit=/init random.trust_cpu=on tsc=reliable no_timer_check "
    "mitigations=off init_on_alloc=0 audit=0 lsm=landlock"
)
# QEMU translates code again at every address where it appears: with random addresses `true` takes 17 ms, else 3.
_EMULATED_KERNEL_LINE = f"{_KERNEL_LINE} norandmaps"


_NO_DISK: dict[str, object] = {"driver": "null-co", "size": DISK_BYTES, "read-zeroes": True}
_RECLAIM = {"discard": "unmap", "detect-zeroes": "unmap"}


def qemu_argv(
    program: Path,
    shape: Shape,
    accelerator: str,
    fds: list[int],
    layers: Sequence[str],
    *,
    booting: bool,
    output: bool = False,
    console: bool = False,
    tap: int = -1,
) -> list[str]:
    """Return QEMU's command line.

    `layers` names the files that make up the writable disk, lowest first. `fds` are the listening sockets in the order
    of `MachineSockets.all`. `booting` starts the kernel with memory that is saved later; otherwise QEMU waits for a
    saved state. With `output` the fourth disk is a real one. With `console` QEMU prints the serial console.
    `tap` is the descriptor of the tap device behind the network device of a shape that has one.
    """
    _, monitor, *slots = fds
    argv = [
        str(program),
        "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
        "-sandbox", _SANDBOX,
        *_machine(shape, accelerator, shared=booting),
        "-chardev", f"socket,id=monitor,fd={monitor},server=on,wait=off",
        "-mon", "chardev=monitor,mode=control",
        "-chardev", "stdio,id=console,signal=off" if console else "null,id=console",
        "-device", "isa-serial,chardev=console",
        "-global", "virtio-pci.disable-legacy=on",
        "-object", "rng-builtin,id=entropy",
        "-device", "virtio-rng-pci,rng=entropy",
        "-device", f"virtio-serial-pci,id=ports,max_ports={SLOTS + 1}",
    ]  # fmt: skip
    for slot, fd in enumerate(slots):
        argv += ["-chardev", f"socket,id=slot{slot},fd={fd},server=on,wait=off"]
        argv += ["-device", f"virtserialport,bus=ports.0,nr={slot + 1},chardev=slot{slot},name=pyro.{slot}"]
    argv += _disks(layers, output=output)
    if shape.network:
        argv += ["-netdev", f"tap,id=net,fd={tap},vhost=off"]
        argv += ["-device", "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56,romfile="]
    # A clone's memory already holds the kernel; loading it again would cost time and 13 MB.
    line = _KERNEL_LINE if accelerator == "kvm" else _EMULATED_KERNEL_LINE
    kernel = ["-kernel", KERNEL, "-initrd", INITRAMFS, "-append", line]
    return argv + (kernel if booting else ["-incoming", "defer"])


def _machine(shape: Shape, accelerator: str, *, shared: bool) -> list[str]:
    accel = "kvm" if accelerator == "kvm" else "tcg,thread=multi,tb-size=256"
    share = "on" if shared else "off"
    return [
        "-machine", "q35,memory-backend=ram,vmport=off,smbus=off,sata=off,smm=off,graphics=off,usb=off,i8042=off",
        "-accel", accel,
        "-cpu", "host" if accelerator == "kvm" else _EMULATED_CPU,
        "-smp", str(shape.vcpu_count),
        "-m", f"{shape.mem_mib}M",
        "-object", f"memory-backend-file,id=ram,mem-path={RAM},size={shape.mem_mib}M,share={share}",
    ]  # fmt: skip


def layer_node(layer: str, path: str) -> dict[str, object]:
    """Return the block node of one layer, without its backing node."""
    return {"driver": "qcow2", "node-name": layer, "file": _file(path, discard="unmap"), **_RECLAIM}


def raw_node(name: str, file: object, *, writable: bool = False) -> dict[str, object]:
    """Return a block node that shows another one, `file`, as it is."""
    return {"driver": "raw", "node-name": name, "file": file, **(_RECLAIM if writable else {"read-only": True})}


def layer_chain(layers: Sequence[str]) -> dict[str, object]:
    """Return the block node of the uppermost of `layers`, with those below it; the lowest comes first."""
    chain = raw_node(BLANK_NODE, _file(BLANK))
    for layer in layers:
        folder = LIVE if layer == layers[-1] else FROZEN
        chain = {**layer_node(layer, f"{folder}/{layer}"), "backing": chain}
    return chain


def disk_nodes(layers: Sequence[str], *, output: bool) -> list[dict[str, object]]:
    """Return the block nodes of a machine's disks, in their order.

    `layers` are those of the second one, lowest first. A spare has none: an empty disk is in their place.
    """
    return [
        raw_node("root", _file(ROOT)),
        layer_chain(layers) if layers else raw_node(LATE_NODE, _NO_DISK, writable=True),
        raw_node(BASELINE_NODE, _file(BASELINE)),
        {"driver": "raw", "node-name": "output", "file": _file(OUTPUT)}
        if output
        else {**_NO_DISK, "node-name": "output"},
    ]


def _disks(layers: Sequence[str], *, output: bool) -> list[str]:
    argv = []
    for name, node in zip(("vda", "vdb", "vdc", "vdd"), disk_nodes(layers, output=output), strict=True):
        argv += ["-blockdev", json.dumps(node)]
        argv += ["-device", f"virtio-blk-pci,id={name},drive={node['node-name']}"]
    return argv


def _file(path: str, **more: str) -> dict[str, object]:
    return {"driver": "file", "filename": path, **more}
