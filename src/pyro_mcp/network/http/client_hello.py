"""The server name in a TLS ClientHello. All input is untrusted."""

from __future__ import annotations

from pyro_mcp.network.addressing.host_names import BadName, canonical_name

MOST_BYTES = 32 * 1024
"""The limit for a ClientHello; a longer one is refused."""
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ENCRYPTED_HELLO = 0, 0xFE0D


class UnidentifiedHost(Exception):
    """The first bytes of a connection do not identify its host; the message gives the reason."""


class _Bytes:
    """A cursor in a byte string; reading past the end raises `UnidentifiedHost`."""

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
            raise UnidentifiedHost("the TLS ClientHello is malformed")
        self._at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> _Bytes:
        """Return the bytes that follow a length of `size` bytes."""
        return _Bytes(self.take(self.number(size)))


def tls_name(data: bytes) -> str | None:
    """Return the canonical server name in a ClientHello; None while it is incomplete.

    Raises `UnidentifiedHost` for other bytes, for a ClientHello without a name, and for one with an encrypted name.
    """
    hello = _client_hello(data)
    if hello is None:
        return None
    hello.take(2 + 32)
    hello.vector(1)
    hello.vector(2)
    hello.vector(1)
    if not hello:
        raise UnidentifiedHost("the TLS ClientHello names no host")
    extensions = hello.vector(2)
    if hello:
        raise UnidentifiedHost("the TLS ClientHello is malformed")
    found: dict[int, _Bytes] = {}
    while extensions:
        kind = extensions.number(2)
        if kind in found:
            raise UnidentifiedHost("the TLS ClientHello repeats an extension")
        found[kind] = extensions.vector(2)
    if _ENCRYPTED_HELLO in found:
        raise UnidentifiedHost("the TLS ClientHello is encrypted (ECH), which hides the host")
    if _SERVER_NAME not in found:
        raise UnidentifiedHost("the TLS ClientHello names no host")
    return _name_extension(found[_SERVER_NAME])


def _client_hello(data: bytes) -> _Bytes | None:
    """Return the body of the ClientHello, assembled from its records; None while it is incomplete."""
    message, at = b"", 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4]):
        header = data[at : at + 5]
        if header[:1] not in (b"", bytes([_HANDSHAKE])) or header[1:2] not in (b"", b"\x03"):
            raise UnidentifiedHost("the connection does not begin with TLS")
        size = int.from_bytes(header[3:5])
        if len(header) == 5 and not 0 < size <= 16384:
            raise UnidentifiedHost("the TLS ClientHello is malformed")
        if message[:1] not in (b"", bytes([_CLIENT_HELLO])):
            raise UnidentifiedHost("the connection does not begin with a TLS ClientHello")
        if len(header) < 5 or len(data) < at + 5 + size:
            return None
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
    if message[0] != _CLIENT_HELLO:
        raise UnidentifiedHost("the connection does not begin with a TLS ClientHello")
    return _Bytes(message[4 : 4 + int.from_bytes(message[1:4])])


def _name_extension(extension: _Bytes) -> str:
    names = extension.vector(2)
    kind, name = names.number(1), names.vector(2)
    if kind != 0 or names or extension:
        raise UnidentifiedHost("the TLS ClientHello names more than one host")
    return server_name(name.rest())


def server_name(name: bytes) -> str:
    """Return a server name in canonical form; raises `UnidentifiedHost`."""
    try:
        return canonical_name(name.decode("ascii"))
    except (BadName, UnicodeDecodeError):
        raise UnidentifiedHost("the server name is not valid") from None
