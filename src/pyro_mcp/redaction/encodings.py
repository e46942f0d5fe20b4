"""The forms in which programs print a secret, but for the escapes that `escapes` takes out."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from pyro_mcp.redaction.escapes import Escapes

SHORTEST_DERIVED = 6
"""Bytes from which on other forms than the value itself are looked for: shorter ones would be found in any text."""
_SHORTEST_LINE = 8
_MOST_LINES = 200


def forms(value: str) -> set[bytes]:
    """Return the value, its lines of 8 bytes or more if it has several, and both as common encoders write them.

    Base64 (standard and URL-safe) also where it is a part of something longer, hex, and spaces as plus signs. Of a
    value with more than 200 lines, the lines are found as they are only.
    """
    whole = value.strip()
    lines = [line for line in (one.strip() for one in value.splitlines()) if _worth_hiding(line)]
    found = {value.encode(), *(line.encode() for line in lines)}
    pieces = {value, whole} if len(lines) > _MOST_LINES else {value, whole, *lines}
    for piece in filter(None, pieces):
        found.add(piece.encode())
        if len(piece.encode()) >= SHORTEST_DERIVED:
            found.update(_derived(piece))
    return found


def _worth_hiding(line: str) -> bool:
    return len(line.encode()) >= _SHORTEST_LINE and not line.startswith("-----")  # PEM's frame is no secret


def _derived(value: str) -> Iterator[bytes]:
    raw = value.encode()
    yield from _base64(raw)
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield from _without_escapes(raw)
    yield from _without_escapes(raw.replace(b" ", b"+"))  # an HTML form's
    # Where \xe9 stands for a character, not for a byte, it has been taken for the byte.
    yield b"".join(one.encode("latin-1") if one < "\u0100" else one.encode() for one in value)


def _without_escapes(raw: bytes) -> Iterator[bytes]:
    """What is left of it when text that shows it, and what looks like an escape in it, is unescaped."""
    escapes = Escapes(frozenset(raw))
    text: bytes | None = raw
    while text is not None:
        yield text
        view = escapes.view(text)
        text = None if view is None else view.data


def _base64(raw: bytes) -> Iterator[bytes]:
    """What the encodings of everything that contains `raw` have in common, for each of three places to begin."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw)
        yield encode(raw).rstrip(b"=")
        yield encode(raw + b"\n").rstrip(b"=")
        for before in range(3):
            # A character holds 6 bits: those that hold a bit of what is before or after vary with it.
            first, end = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
            yield encode(bytes(before) + raw)[first:end]
