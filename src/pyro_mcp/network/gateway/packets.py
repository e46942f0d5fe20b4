"""Packets to the guest from any source address, which an ordinary socket cannot send."""

from __future__ import annotations

import itertools
import socket
import struct

from pyro_mcp.network.addressing.addresses import GUEST_ADDRESS

_MOST_DATA = 1500 - 20  # of one packet: the device's MTU less the header
_MORE_FRAGMENTS = 0x2000
_HEADER = struct.Struct("!BBHHHBBH4s4s")
_UNREACHABLE, _PORT = 3, 3


class Packets:
    """A sender of packets by the raw socket `raw`, whose packets include their headers (IPPROTO_RAW)."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._numbers = itertools.count(1)

    def datagram(self, source: tuple[str, int], guest_port: int, data: bytes) -> None:
        """Send a UDP datagram to the guest, in as many packets as it needs; drop what cannot be sent."""
        # No checksum: over IPv4 it may be 0, and these bytes never leave memory.
        datagram = struct.pack("!4H", source[1], guest_port, 8 + len(data), 0) + data
        number = next(self._numbers) & 0xFFFF
        for at in range(0, len(datagram), _MOST_DATA):
            more = _MORE_FRAGMENTS if at + _MOST_DATA < len(datagram) else 0
            self._send(source[0], socket.IPPROTO_UDP, datagram[at : at + _MOST_DATA], number, more | at // 8)

    def unreachable(self, target: tuple[str, int], guest_port: int) -> None:
        """Report to the guest that the UDP port it has sent to is unreachable."""
        sent = struct.pack("!4H", guest_port, target[1], 8, 0)
        quoted = _header((GUEST_ADDRESS, target[0]), socket.IPPROTO_UDP, len(sent)) + sent
        body = struct.pack("!BBHI", _UNREACHABLE, _PORT, 0, 0) + quoted
        body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
        self._send(target[0], socket.IPPROTO_ICMP, body, next(self._numbers) & 0xFFFF, 0)

    def _send(self, source: str, protocol: int, data: bytes, number: int, fragment: int) -> None:
        packet = _header((source, GUEST_ADDRESS), protocol, len(data), number, fragment) + data
        try:
            self._raw.sendto(packet, socket.MSG_DONTWAIT, (GUEST_ADDRESS, 0))
        except OSError:
            return


def _header(ends: tuple[str, str], protocol: int, size: int, number: int = 0, fragment: int = 0) -> bytes:
    return _HEADER.pack(0x45, 0, _HEADER.size + size, number, fragment, 64, protocol, 0, *map(socket.inet_aton, ends))


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
