"""Network interfaces of this process's namespace, by ioctl: netdevice(7)."""

from __future__ import annotations

import fcntl
import socket
import struct

GUEST_DEVICE = "guest0"
"""The gateway's end of the guest's network device."""
_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _SET_MASK = 0x8913, 0x8914, 0x8916, 0x891C  # linux/sockios.h
_UP = 1
# Devices that the kernel adds to each new namespace once their modules are loaded; without an underlying device they
# lead nowhere.
_FALLBACK_TUNNELS = frozenset({
    "erspan0", "gre0", "gretap0", "ip6_vti0", "ip6gre0", "ip6tnl0", "ip_vti0", "sit0", "tunl0",
})  # fmt: skip


def set_address(device: str, address: str, mask: str) -> None:
    """Give a device its IPv4 address; raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        for request, value in ((_SET_ADDRESS, address), (_SET_MASK, mask)):
            packed = struct.pack("16sHH4s8x", device.encode(), socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(sock, request, packed)


def set_up(device: str) -> None:
    """Switch a device on; raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        flags = struct.unpack_from("16xH", fcntl.ioctl(sock, _GET_FLAGS, struct.pack("16s16x", device.encode())))[0]
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sH14x", device.encode(), flags | _UP))


def other_interfaces() -> list[str]:
    """Return the interfaces of this namespace that may lead out of it: all but the loopback and unused tunnels."""
    names = {name for _, name in socket.if_nameindex()}
    return sorted(names - _FALLBACK_TUNNELS - {"lo"})
