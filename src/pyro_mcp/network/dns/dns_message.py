"""DNS messages, as far as a resolver without a cache needs them (RFC 1035, 6891, 8914); all input is untrusted."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

A, NS, SOA, PTR, MX, TXT, AAAA, SRV, OPT, CAA = 1, 2, 6, 12, 15, 16, 28, 33, 41, 257
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NO_SUCH_NAME, NOT_IMPLEMENTED = 0, 1, 2, 3, 4
MOST_BYTES = 4096
"""The limit for a message that we read or write."""
_IN, _BLOCKED = 1, 15
_HEADER = struct.Struct("!6H")
_MOST_JUMPS = 32
_MOST_RECORDS = 64
_UDP_BYTES = 1232  # what fits in one datagram wherever it goes: DNS flag day 2020


class Malformed(Exception):
    """Bytes that are not a DNS message that we answer."""


@dataclass(frozen=True)
class Question:
    """A DNS question: labels as received, type, and the largest datagram for the answer, in bytes."""

    id: int
    flags: int
    labels: tuple[bytes, ...]
    type: int
    udp_bytes: int
    extended: bool
    """Whether the client understands an OPT record."""


@dataclass(frozen=True)
class ResourceRecord:
    """One record of an answer, its data without compressed names; TTL in seconds."""

    labels: tuple[bytes, ...]
    type: int
    ttl: int
    data: bytes


def parse_question(message: bytes) -> Question:
    """Return the one question in a query; raises `Malformed`."""
    if len(message) < _HEADER.size:
        raise Malformed("shorter than a header")
    identity, flags, questions, answers, authorities, extras = _HEADER.unpack_from(message)
    if flags & 0xF800 or questions != 1 or answers or authorities or extras > 2:
        raise Malformed("not a plain query")
    labels, at = _labels(message, _HEADER.size, jumps=0)
    if at + 4 > len(message):
        raise Malformed("truncated in its question")
    kind, class_ = struct.unpack_from("!HH", message, at)
    if class_ != _IN:
        raise Malformed("not of the class IN")
    udp_bytes = _opt_bytes(message, at + 4) if extras else None
    return Question(identity, flags, labels, kind, min(max(udp_bytes or 512, 512), _UDP_BYTES), udp_bytes is not None)


def _opt_bytes(message: bytes, at: int) -> int | None:
    """Return the datagram size from an OPT record at `at`; None if there is none."""
    if message[at : at + 3] == b"\0\0\x29" and at + 5 <= len(message):
        return int.from_bytes(message[at + 3 : at + 5])
    return None


def _labels(message: bytes, at: int, *, jumps: int = _MOST_JUMPS) -> tuple[tuple[bytes, ...], int]:
    """Return the labels of the name at `at`, and its end; a name may hold at most `jumps` compression pointers."""
    labels: list[bytes] = []
    end, size = -1, 0
    while True:
        if at >= len(message):
            raise Malformed("ends in a name")
        length = message[at]
        if length >= 0xC0:
            if jumps == 0 or at + 1 >= len(message):
                raise Malformed("a name points too often")
            end = at + 2 if end < 0 else end
            at, jumps = (length & 0x3F) << 8 | message[at + 1], jumps - 1
            continue
        if length > 63 or at + 1 + length > len(message):
            raise Malformed("a label is too long")
        at += 1
        if length == 0:
            return tuple(labels), at if end < 0 else end
        size += length + 1
        if size > 254:
            raise Malformed("a name is too long")
        labels.append(message[at : at + length])
        at += length


def _written(labels: Sequence[bytes]) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def reply(
    question: Question, code: int, records: Sequence[ResourceRecord] = (), *, reason: str = "", udp: bool = True
) -> bytes:
    """Return the answer to `question`, with `reason` as an extended error for a client that understands OPT records.

    An answer that is too long for a datagram has no records and is marked as truncated.
    """
    for kept in (records, ()):
        body = b"".join(_written(one.labels) + _fixed(one) + one.data for one in kept)
        extra = _opt(reason) if question.extended else b""
        truncated = 0x0200 if len(kept) < len(records) else 0
        flags = 0x8080 | truncated | (question.flags & 0x0110) | code
        head = _HEADER.pack(question.id, flags, 1, len(kept), 0, 1 if extra else 0)
        message = head + _written(question.labels) + struct.pack("!HH", question.type, _IN) + body + extra
        if len(message) <= (question.udp_bytes if udp else MOST_BYTES):
            break
    return message


def _fixed(record: ResourceRecord) -> bytes:
    return struct.pack("!HHIH", record.type, _IN, record.ttl, len(record.data))


def _opt(reason: str) -> bytes:
    text = struct.pack("!H", _BLOCKED) + reason.encode()[:200].decode(errors="ignore").encode()
    option = struct.pack("!HH", 15, len(text)) + text if reason else b""
    return b"\0" + struct.pack("!HHIH", OPT, _UDP_BYTES, 0, len(option)) + option


def malformed_reply(message: bytes) -> bytes | None:
    """Return the reply to bytes that are not a valid question; None for bytes that are not even a query."""
    if len(message) < _HEADER.size or message[2] & 0x80:
        return None
    return message[:2] + struct.pack("!5H", 0x8080 | FORMAT_ERROR, 0, 0, 0, 0)


def query(identity: int, labels: Sequence[bytes], kind: int) -> bytes:
    """Return a query of our own."""
    opt = b"\0" + struct.pack("!HHIH", OPT, _UDP_BYTES, 0, 0)
    return _HEADER.pack(identity, 0x0100, 1, 0, 0, 1) + _written(labels) + struct.pack("!HH", kind, _IN) + opt


def parse_answer(
    message: bytes, identity: int, labels: Sequence[bytes], kind: int
) -> tuple[bool, list[ResourceRecord]]:
    """Return whether an answer to our own query is truncated, and its records of `kind`, with the name of the query.

    Other records, such as addresses and aliases, are left out. Raises `Malformed`.
    """
    if len(message) < _HEADER.size:
        raise Malformed("shorter than a header")
    got, flags, questions, count, _, _ = _HEADER.unpack_from(message)
    asked, at = _labels(message, _HEADER.size)
    same = [one.lower() for one in asked] == [one.lower() for one in labels]
    if got != identity or not flags & 0x8000 or questions != 1 or not same or count > _MOST_RECORDS:
        raise Malformed("not the answer to our question")
    at += 4
    records = []
    for _ in range(count):
        _, at = _labels(message, at)
        if at + 10 > len(message):
            raise Malformed("truncated in a record")
        found, _, ttl, size = struct.unpack_from("!HHIH", message, at)
        at += 10
        if at + size > len(message):
            raise Malformed("truncated in a record")
        if found == kind:
            records.append(ResourceRecord(tuple(labels), kind, min(ttl, 3600), _data(message, at, size, kind)))
        at += size
    return bool(flags & 0x0200), records


# The bytes before the names in a record's data, and the number of names; the rest is copied.
_NAMES_IN = {NS: (0, 1), SOA: (0, 2), MX: (2, 1), SRV: (6, 1), TXT: (0, 0), CAA: (0, 0)}
FORWARDED = frozenset(_NAMES_IN)
"""The record types without an address; questions for them go to the host's own resolver."""
NAMING_HOSTS = frozenset({NS, MX, SRV})
"""The types of these whose data ends with the name of a host."""


def host_in(record: ResourceRecord) -> str:
    """Return the host that a record of `NAMING_HOSTS` names; "" for the root."""
    labels, _ = _labels(record.data, _NAMES_IN[record.type][0], jumps=0)
    return b".".join(labels).decode("latin-1")


def _data(message: bytes, at: int, size: int, kind: int) -> bytes:
    before, names = _NAMES_IN[kind]
    end = at + size
    data, at = message[at : at + before], at + before
    for _ in range(names):
        labels, at = _labels(message, at)
        data += _written(labels)
    if at > end:
        raise Malformed("a record is longer than it says")
    return data + message[at:end]
