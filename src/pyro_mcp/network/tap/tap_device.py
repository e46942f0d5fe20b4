"""The machine's network device, and the small network behind it: a tap whose every packet ends in one process."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct

from pyro_mcp.host.process import run
from pyro_mcp.network.addressing.addresses import GATEWAY_ADDRESS, GUEST_ADDRESS
from pyro_mcp.network.addressing.routes import LOCAL, UNICAST, add_route

TAP = "tap0"
_TUN = "/dev/net/tun"
_SET_INTERFACE, _TAP, _NO_INFO, _HEADER = 0x400454CA, 0x0002, 0x1000, 0x4000  # linux/if_tun.h
_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _SET_MASK = 0x8913, 0x8914, 0x8916, 0x891C  # linux/sockios.h
_UP = 1
_NFT_DEADLINE = 10.0


def open_tap() -> int:
    """A descriptor of a new tap device in this namespace, for QEMU: with virtio headers. Raises `OSError`."""
    tun = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(tun, _SET_INTERFACE, struct.pack("16sH22x", TAP.encode(), _TAP | _NO_INFO | _HEADER))
    except OSError:
        os.close(tun)
        raise
    return tun


def bring_up() -> None:
    """Give the tap its address and make every other address in the world one of this namespace's own.

    So whatever the machine sends to is delivered here, and goes nowhere else.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        _address(line, _SET_ADDRESS, GATEWAY_ADDRESS)
        _address(line, _SET_MASK, "255.255.255.255")  # a wider one would make its neighbours not ours
        for name in ("lo", TAP):
            flags = struct.unpack_from("16xH", fcntl.ioctl(line, _GET_FLAGS, struct.pack("16s16x", name.encode())))[0]
            fcntl.ioctl(line, _SET_FLAGS, struct.pack("16sH14x", name.encode(), flags | _UP))
    add_route(ipaddress.IPv4Network("0.0.0.0/0"), "lo", LOCAL)
    add_route(ipaddress.IPv4Network(GUEST_ADDRESS), TAP, UNICAST)


def _address(line: socket.socket, request: int, address: str) -> None:
    fcntl.ioctl(line, request, struct.pack("16sHH4s8x", TAP.encode(), socket.AF_INET, 0, socket.inet_aton(address)))


def guard(tcp_port: int, udp_port: int) -> None:
    """Hand every TCP connection and UDP datagram of the machine to two sockets, and let nothing else in or out."""
    run(["nft", "-f", "-"], deadline_seconds=_NFT_DEADLINE, stdin=_RULES.format(tcp=tcp_port, udp=udp_port).encode())


_RULES = f"""
table inet gateway {{{{
    chain arriving {{{{
        type filter hook prerouting priority mangle; policy drop;
        iifname != "{TAP}" drop
        ip saddr != {GUEST_ADDRESS} drop
        ip daddr {GATEWAY_ADDRESS} meta l4proto tcp socket transparent 0 accept
        meta nfproto ipv4 meta l4proto tcp tproxy ip to :{{tcp}} accept
        meta nfproto ipv4 meta l4proto udp tproxy ip to :{{udp}} accept
        meta nfproto ipv4 meta l4proto icmp icmp type echo-request ip daddr {GATEWAY_ADDRESS} accept
    }}}}
    chain forwarded {{{{
        type filter hook forward priority filter; policy drop;
    }}}}
    chain leaving {{{{
        type filter hook output priority filter; policy drop;
        oifname "{TAP}" ip daddr {GUEST_ADDRESS} accept
    }}}}
}}}}
"""
