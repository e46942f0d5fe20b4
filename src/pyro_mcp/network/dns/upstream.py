"""Lookups by the host's own resolver: addresses by the C library, other records by DNS."""

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
    """A lookup without an answer; `missing` when there is no such name, otherwise a retry may help."""

    def __init__(self, message: str, *, missing: bool) -> None:
        super().__init__(message)
        self.missing = missing


def addresses_of(name: str) -> list[Address]:
    """Return the addresses of a canonical name, best first, as any program of this host would find them.

    `RESOLVER_ENVIRONMENT` limits the time. Raises `LookupFailed`.
    """
    try:
        # As bytes: for a str Python would load a codec, and this process may not be able to read its files any more.
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
"""Environment for the policy process: short timeouts, and no search domains of the host."""


def name_servers(configuration: Path = Path("/etc/resolv.conf")) -> list[str]:
    """Return the addresses of the host's name servers."""
    try:
        lines = configuration.read_text(errors="replace").splitlines()
    except OSError:
        return ["127.0.0.1"]
    words = [sock.split() for sock in lines]
    return [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"][:3] or ["127.0.0.1"]


def records_of(name: str, kind: int) -> list[dns_message.ResourceRecord]:
    """Return a name's records of a type of `dns_message.FORWARDED`, from the host's resolver; raises `LookupFailed`."""
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
    with socket.socket(_family(server), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_left(end))
        sock.connect((server, 53))
        sock.send(message)
        return sock.recv(dns_message.MOST_BYTES)


def _over_tcp(server: str, message: bytes, end: float) -> bytes:
    with socket.socket(_family(server), socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_left(end))
        sock.connect((server, 53))
        sock.sendall(len(message).to_bytes(2) + message)
        size = int.from_bytes(read_exactly(sock, 2))
        return read_exactly(sock, min(size, dns_message.MOST_BYTES))


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """Return `size` bytes of a stream; raises `OSError` when it ends before."""
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionResetError("the stream ended early")
        data += more
    return data


def keep_loaded() -> None:
    """Make the C library load its resolver modules, before this process loses access to files."""
    os.environ.update(RESOLVER_ENVIRONMENT)
    try:
        socket.getaddrinfo(b"localhost", 0, type=socket.SOCK_STREAM)
    except OSError:
        return  # a host without that name: the modules are loaded all the same
