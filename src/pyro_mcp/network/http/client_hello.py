"""The name in the first bytes of a TLS connection. All bytes are a stranger's."""

from __future__ import annotations

from pyro_mcp.network.addressing.host_names import BadName, canonical_name

MOST_BYTES = 32 * 1024
"""Of a greeting that we read before we say no."""
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ENCRYPTED_HELLO = 0, 0xFE0D


class Unclear(Exception):
    """The first bytes do not say which host they are for; the message says why."""


class _Bytes:
    """A cursor that never leaves its bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) < size:
            raise Unclear("the TLS greeting is malformed")
        self._at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> _Bytes:
        """What follows a length of `size` bytes."""
        return _Bytes(self.take(self.number(size)))


def tls_name(data: bytes) -> str | None:
    """The canonical server name in a ClientHello; None while it is not complete.

    Raises `Unclear` for anything else, for one without a name, and for one whose real name may be encrypted.
    """
    hello = _client_hello(data)
    if hello is None:
        return None
    hello.take(2 + 32)
    hello.vector(1)
    hello.vector(2)
    hello.vector(1)
    if not hello:
        raise Unclear("the TLS greeting names no host")
    extensions = hello.vector(2)
    if hello:
        raise Unclear("the TLS greeting is malformed")
    found: dict[int, _Bytes] = {}
    while extensions:
        kind = extensions.number(2)
        if kind in found:
            raise Unclear("the TLS greeting says something twice")
        found[kind] = extensions.vector(2)
    if _ENCRYPTED_HELLO in found:
        raise Unclear("the TLS greeting is encrypted (ECH), so nobody can see whom it is for")
    if _SERVER_NAME not in found:
        raise Unclear("the TLS greeting names no host")
    return _server_name(found[_SERVER_NAME])


def _client_hello(data: bytes) -> _Bytes | None:
    """The body of the handshake message that a stream begins with, put together from its records."""
    message, at = b"", 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4]):
        header = data[at : at + 5]
        if header[:1] not in (b"", bytes([_HANDSHAKE])) or header[1:2] not in (b"", b"\x03"):
            raise Unclear("the connection does not begin with TLS")
        size = int.from_bytes(header[3:5])
        if len(header) == 5 and not 0 < size <= 16384:
            raise Unclear("the TLS greeting is malformed")
        if message[:1] not in (b"", bytes([_CLIENT_HELLO])):
            raise Unclear("the connection does not begin with a TLS greeting")
        if len(header) < 5 or len(data) < at + 5 + size:
            return None
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
    if message[0] != _CLIENT_HELLO:
        raise Unclear("the connection does not begin with a TLS greeting")
    return _Bytes(message[4 : 4 + int.from_bytes(message[1:4])])


def _server_name(extension: _Bytes) -> str:
    names = extension.vector(2)
    kind, name = names.number(1), names.vector(2)
    if kind != 0 or names or extension:
        raise Unclear("the TLS greeting names more than one host")
    return greeted_name(name.rest())


def greeted_name(name: bytes) -> str:
    """The canonical name that a greeting gives; raises `Unclear`."""
    try:
        return canonical_name(name.decode("ascii"))
    except (BadName, UnicodeDecodeError):
        raise Unclear("the greeting names no proper host") from None
