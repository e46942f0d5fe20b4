"""The forms in which programs print a secret."""

from __future__ import annotations

import base64
import html
import json
import shlex
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

SHORTEST_DERIVED = 6
"""Bytes from which on other forms than the value itself are looked for: shorter ones would be found in any text."""
_SHORTEST_LINE = 8
_MOST_LINES = 200


def disguises(value: str) -> set[bytes]:
    """The value, its lines of 8 bytes or more if it has several, and both as common encoders write them.

    Base64 (standard and URL-safe) also where it is a part of something longer; URL encoding; hex; the escapes of JSON
    (also twice), HTML, Python and the shell. Of a value with more than 200 lines, the lines are found as they are only.
    """
    found = {value.encode()}
    whole = value.strip()
    lines = [line for line in (one.strip() for one in value.splitlines()) if _worth_hiding(line)]
    pieces = {value, whole} if len(lines) > _MOST_LINES else {value, whole, *lines}
    for piece in filter(None, pieces):
        found.add(piece.encode())
        if len(piece.encode()) >= SHORTEST_DERIVED:
            found.update(_derived(piece))
    found.update(line.encode() for line in lines)
    return found


def _worth_hiding(line: str) -> bool:
    return len(line.encode()) >= _SHORTEST_LINE and not line.startswith("-----")  # PEM's frame is no secret


def _derived(value: str) -> Iterator[bytes]:
    raw = value.encode()
    yield from _base64(raw)
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for text in _escaped(value):
        yield text.encode()


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


def _escaped(value: str) -> Iterator[str]:
    for quoted in (
        quote(value, safe=""),
        quote(value, safe="/"),
        quote_plus(value),
        quote(value, safe="!'()*"),  # as JavaScript's encodeURIComponent
        quote(value, safe="!#$&'()*+,/:;=?@"),  # as its encodeURI
    ):
        yield quoted
        yield _with_lower_hex(quoted)
    for ascii_only in (True, False):
        escaped = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield escaped
        yield escaped.replace("/", r"\/")
        yield json.dumps(escaped, ensure_ascii=ascii_only)[1:-1]
    yield html.escape(value)
    yield html.escape(value, quote=False)
    yield repr(value)[1:-1]
    yield repr(value.encode())[2:-1]
    yield shlex.quote(value).strip("'")
    yield value.replace("'", r"'\''")


def _with_lower_hex(quoted: str) -> str:
    first, *rest = quoted.split("%")
    return "%".join([first, *(one[:2].lower() + one[2:] for one in rest)])
