"""A tap device: QEMU reads and writes its frames."""

from __future__ import annotations

import fcntl
import os
import struct

from pyro_mcp.network.devices.interfaces import GUEST_DEVICE

_TUN = "/dev/net/tun"
_SET_INTERFACE, _TAP, _NO_INFO, _HEADER = 0x400454CA, 0x0002, 0x1000, 0x4000  # linux/if_tun.h


def open_tap() -> int:
    """Return the descriptor of a new tap device in this namespace, with virtio headers; raises `OSError`."""
    tun = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(tun, _SET_INTERFACE, struct.pack("16sH22x", GUEST_DEVICE.encode(), _TAP | _NO_INFO | _HEADER))
    except OSError:
        os.close(tun)
        raise
    return tun
