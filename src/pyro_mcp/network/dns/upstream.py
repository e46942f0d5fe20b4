"""Questions that the host's own resolver answers: addresses by the system's way, other records by DNS."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import time
from pathlib import Path

from pyro_mcp.network.addressing.routes import Address
from pyro_mcp.network.dns import dns_message

_DEADLINE = 5.0
_MOST_ADDRESSES = 16


class LookupFailed(Exception):
    """No answer; `missing` when there is no such name, otherwise it may help to try again."""

    def __init__(self, message: str, *, missing: bool) -> None:
        super().__init__(message)
        self.missing = missing


def addresses_of(name: str) -> list[Address]:
    """The addresses of a canonical name, best first, as any program of this host would find them.

    How long that may take is said in `RESOLVER_ENVIRONMENT`. Raises `LookupFailed`.
    """
    try:
        # As bytes: for a text Python would load a codec, and we may not be able to read our own files any more.
        found = socket.getaddrinfo(name.encode("ascii"), 0, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except socket.gaierror as error:
        missing = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        raise LookupFailed(
            "there is no such name" if missing else "the host's resolver failed", missing=missing
        ) from None
    except OSError:
        raise LookupFailed("the host's resolver failed", missing=False) from None
    addresses = dict.fromkeys(ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in found)
    return list(addresses)[:_MOST_ADDRESSES]


RESOLVER_ENVIRONMENT = {"RES_OPTIONS": "timeout:2 attempts:2", "LOCALDOMAIN": "."}
"""For the process that asks: it gives up soon, and never tries a name with the host's own domains behind it."""


def name_servers(configuration: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The addresses of the host's resolvers."""
    try:
        lines = configuration.read_text(errors="replace").splitlines()
    except OSError:
        return ["127.0.0.1"]
    words = [line.split() for line in lines]
    return [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"][:3] or ["127.0.0.1"]


def records_of(name: str, kind: int) -> list[dns_message.ResourceRecord]:
    """Return a name's records of one type of `dns.FORWARDED`, from the host's resolvers; raises `LookupFailed`."""
    labels = tuple(label.encode("ascii") for label in name.split("."))
    end = time.monotonic() + _DEADLINE
    for server in name_servers():
        for transport in (_over_udp, _over_tcp):
            identity = secrets.randbelow(65536)
            try:
                message = transport(server, dns_message.query(identity, labels, kind), end)
                cut, records = dns_message.parse_answer(message, identity, labels, kind)
            except (OSError, dns_message.Malformed):
                break
            if not cut:
                return records
    raise LookupFailed("the host's resolver failed", missing=False)


def _left(end: float) -> float:
    return max(0.01, min(2.0, end - time.monotonic()))


def _family(server: str) -> int:
    return socket.AF_INET6 if ":" in server else socket.AF_INET


def _over_udp(server: str, message: bytes, end: float) -> bytes:
    with socket.socket(_family(server), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.settimeout(_left(end))
        line.connect((server, 53))
        line.send(message)
        return line.recv(dns_message.MOST_BYTES)


def _over_tcp(server: str, message: bytes, end: float) -> bytes:
    with socket.socket(_family(server), socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
        line.settimeout(_left(end))
        line.connect((server, 53))
        line.sendall(len(message).to_bytes(2) + message)
        size = int.from_bytes(read_exactly(line, 2))
        return read_exactly(line, min(size, dns_message.MOST_BYTES))


def read_exactly(line: socket.socket, size: int) -> bytes:
    """`size` bytes of a stream; raises `OSError` when it ends before."""
    data = b""
    while len(data) < size:
        more = line.recv(size - len(data))
        if not more:
            raise ConnectionResetError("the stream ended early")
        data += more
    return data


def keep_loaded() -> None:
    """Load what the resolver loads late: its modules must be there before rights are given up."""
    os.environ.update(RESOLVER_ENVIRONMENT)
    try:
        socket.getaddrinfo(b"localhost", 0, type=socket.SOCK_STREAM)
    except OSError:
        return  # a host without that name has loaded them all the same
