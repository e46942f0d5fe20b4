"""Encode and decode the agent protocol; no input or output. See `guest/PROTOCOL.md`.

Everything from the guest is treated as hostile: a frame over the limit, a wrong end mark or
a malformed field list raises `ProtocolViolation`, and no more than one frame is ever held in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from pyro_mcp.errors import ProtocolViolation

VERSION = 1
MAX_PAYLOAD = 1024 * 1024
"""Bytes that one frame may carry."""
INPUT_WINDOW = 256 * 1024
"""Bytes of a command's input that may be sent before the guest reports them as taken."""
SLOTS = 16
"""The number of ports, and so of clients at the same time."""
SYNC = b"\xff" * 8 + b"PYRO/1\r\n"
NONCE_SIZE = 16
RESYNC = bytes(MAX_PAYLOAD + 6)
"""Bytes that complete any half-sent frame of a killed client, with a wrong end mark."""

_HEADER = struct.Struct("<IB")
_FIELD = struct.Struct("<BI")
_NUMBER = struct.Struct("<Q")
_END = b"\xa7"


class Type(IntEnum):
    HELLO = 1
    SETUP = 2
    EXEC = 3
    INPUT = 4
    SIGNAL = 5
    FLUSH = 6
    POWEROFF = 7
    CLOCK = 8
    WELCOME = 64
    OK = 65
    ERROR = 66
    STARTED = 67
    STDOUT = 68
    STDERR = 69
    TAKEN = 70
    EXIT = 71
    ALIVE = 72


class Tag(IntEnum):
    NONCE = 1
    VERSION = 2
    BUILD = 3
    PHASE = 4
    CLOCK = 5
    ENTROPY = 6
    HOSTNAME = 7
    FILE = 8
    ARG = 9
    ENV = 10
    CWD = 11
    TIMEOUT_MS = 12
    STDIN = 13
    NUMBER = 14
    TEXT = 15
    SIGNALLED = 16
    TIMED_OUT = 17
    TOOL = 18
    GENERATION = 19
    PAUSE = 20
    ALIVE = 21


@dataclass(frozen=True)
class Frame:
    """One message: its type (a number the peer chose, maybe unknown to us) and its raw payload."""

    type: int
    payload: bytes

    def fields(self) -> list[tuple[int, bytes]]:
        """Return the payload as (tag, bytes) pairs in order. Raises `ProtocolViolation` if it is malformed."""
        found = []
        position = 0
        while position < len(self.payload):
            if position + _FIELD.size > len(self.payload):
                raise ProtocolViolation("the guest sent a field list that ends inside a field header")
            tag, size = _FIELD.unpack_from(self.payload, position)
            position += _FIELD.size
            if size > len(self.payload) - position:
                raise ProtocolViolation("the guest sent a field that is longer than its frame")
            found.append((tag, self.payload[position : position + size]))
            position += size
        return found

    def number(self, tag: Tag, default: int = 0) -> int:
        """Return the first field `tag` as a number, `default` when it is absent. Raises `ProtocolViolation`."""
        for found, data in self.fields():
            if found == tag:
                if len(data) != _NUMBER.size:
                    raise ProtocolViolation(f"the guest sent {tag.name} with {len(data)} bytes instead of 8")
                return int(_NUMBER.unpack(data)[0])
        return default

    def text(self, tag: Tag) -> str:
        """Return the first field `tag` as text (invalid UTF-8 replaced), "" when it is absent."""
        return next((data.decode(errors="replace") for found, data in self.fields() if found == tag), "")


def encode(type_: int, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame. Raises `ValueError` for a payload over `MAX_PAYLOAD`."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a frame carries at most {MAX_PAYLOAD} bytes, not {len(payload)}")
    return _HEADER.pack(len(payload), type_) + payload + _END


def encode_fields(type_: int, fields: Iterable[tuple[int, bytes | int]]) -> bytes:
    """Return the bytes of one frame whose payload is a list of fields; integers become 8-byte numbers."""
    parts = []
    for tag, value in fields:
        data = _NUMBER.pack(value) if isinstance(value, int) else value
        parts += [_FIELD.pack(tag, len(data)), data]
    return encode(type_, b"".join(parts))


class Decoder:
    """Decodes the guest's byte stream into frames.

    With `nonce`, everything before `SYNC nonce` is discarded: it belongs to the previous client.
    """

    def __init__(self, nonce: bytes | None = None) -> None:
        self._preamble = SYNC + nonce if nonce is not None else b""
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes in the order of arrival; yield the frames that they complete. Raises `ProtocolViolation`."""
        self._held += data
        if self._preamble and not self._find_preamble():
            return
        while (frame := self._take_frame()) is not None:
            yield frame

    @property
    def held_bytes(self) -> int:
        """Return the number of bytes that wait for the rest of their frame."""
        return len(self._held)

    def _find_preamble(self) -> bool:
        at = self._held.find(self._preamble)
        if at < 0:
            del self._held[: -(len(self._preamble) - 1)]
            return False
        del self._held[: at + len(self._preamble)]
        self._preamble = b""
        return True

    def _take_frame(self) -> Frame | None:
        if len(self._held) < _HEADER.size:
            return None
        size, type_ = _HEADER.unpack_from(self._held)
        if size > MAX_PAYLOAD:
            raise ProtocolViolation(f"the guest announced a frame of {size} bytes; the limit is {MAX_PAYLOAD}")
        end = _HEADER.size + size
        if len(self._held) <= end:
            return None
        if self._held[end] != _END[0]:
            raise ProtocolViolation("the guest sent a frame without its end mark")
        frame = Frame(type_, bytes(self._held[_HEADER.size : end]))
        del self._held[: end + 1]
        return frame
