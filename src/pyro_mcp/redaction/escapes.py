"""Text without the escapes of JSON, JavaScript, Python, HTML, URLs and the shell, and where each byte of it came from.

To compare after decoding finds a secret in whichever of its characters a program escapes, and however.
"""

from __future__ import annotations

import html.entities
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

_LONGEST_ESCAPE = 24
_ENTITIES: Final = {
    name.rstrip(";").encode(): character.encode()
    for name, character in html.entities.html5.items()
    if name.endswith(";") and len(character) == 1 and character.isascii()
}
_CONTROLS: Final = {
    b"a": b"\a", b"b": b"\b", b"e": b"\x1b", b"E": b"\x1b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t",
    b"v": b"\v",
}  # fmt: skip
# A literal begins each alternative, so that `re` skips what cannot begin one.
_ESCAPE: Final = (
    rb"\\%(more)b(?:u(?:(?P<high>[dD][89abAB][0-9A-Fa-f]{2})\\{1,8}u(?P<low>[dD][c-fC-F][0-9A-Fa-f]{2})"
    rb"|(?P<four>[0-9A-Fa-f]{4})|\{(?P<braced>[0-9A-Fa-f]{1,6})\})"
    rb"|U(?P<eight>[0-9A-Fa-f]{8})|x(?P<two>[0-9A-Fa-f]{2})|(?P<octal>[0-3]?[0-7]{1,2})"
    rb"|(?P<plain>[%(plain)b])|(?P<control>[n%(controls)b]))"
    rb"|%%(?P<percent>[0-9A-Fa-f]{2})"
    rb"|&(?:#(?P<decimal>[0-9]{1,10});?|#[xX](?P<hex>[0-9A-Fa-f]{1,10});?|(?P<entity>%(entities)b);?)"
    rb"|'(?P<quote>\\'|\"'\")'"
)
_UNFINISHED: Final = re.compile(
    rb"(?:\\{1,8}(?:u(?:[0-9A-Fa-f]{0,4}|[dD][89abAB][0-9A-Fa-f]{2}\\{1,8}(?:u[0-9A-Fa-f]{0,3})?|\{[0-9A-Fa-f]{0,6})"
    rb"|U[0-9A-Fa-f]{0,7}|x[0-9A-Fa-f]?|[0-7]{1,2})?"
    rb"|%[0-9A-Fa-f]?|&(?:#[xX]?[0-9A-Fa-f]{0,10}|[A-Za-z]{0,8})|'(?:\\'?|\"'?\"?)?)\Z"
)
_NUMBERS: Final = {"four": 16, "braced": 16, "eight": 16, "decimal": 10, "hex": 16}
_BYTES: Final = {"two": 16, "percent": 16, "octal": 8}


@dataclass(frozen=True)
class View:
    """`data` is some text without its escapes."""

    data: bytes
    _views: list[int]
    _texts: list[int]
    _text_size: int
    """Where each piece begins, in `data` and in the text: literal ones at even places, escapes at odd ones."""

    def start(self, place: int) -> int:
        """Return where in the text the byte at `place` comes from."""
        piece = bisect_right(self._views, place) - 1
        inside = place - self._views[piece] if piece % 2 == 0 else 0
        return min(self._texts[piece] + inside, self._text_size)

    def end(self, place: int) -> int:
        """Return where in the text what makes the byte before `place` ends."""
        piece = bisect_right(self._views, place - 1) - 1
        if piece % 2 == 0:
            return self._texts[piece] + place - self._views[piece]
        return self._texts[piece + 1] if piece + 1 < len(self._texts) else self._text_size


class Escapes:
    """The escapes that can stand for some of the bytes `wanted`, or for the beginning of another escape."""

    def __init__(self, wanted: frozenset[int]) -> None:
        punctuation = bytes(
            one for one in sorted(wanted) if one > 31 and not bytes([one]).isalnum() and one != ord("_")
        )
        controls = b"".join(letter for letter, control in _CONTROLS.items() if control[0] in wanted)
        entities = sorted(
            (name for name, one in _ENTITIES.items() if one[0] in wanted or one in b"&\\%'"), reverse=True
        )
        parts = {
            # Two levels of JSON are taken out at once, but not where a backslash may be the secret's own.
            b"more": b"" if ord("\\") in wanted else rb"\\{0,7}",
            b"plain": b"".join(b"\\x%02x" % one for one in punctuation) or b"\\\\",
            b"controls": controls,
            b"entities": b"|".join(entities),
        }
        self._pattern = re.compile(_ESCAPE % parts)

    def view(self, text: bytes) -> View | None:
        """Return `text` without its escapes; None when it holds none."""
        pieces: list[bytes] = []
        views: list[int] = []
        texts: list[int] = []
        size = place = 0
        for escape in self._pattern.finditer(text):
            start, end = escape.span()
            literal, meant = text[place:start], _meaning(escape)
            pieces += (literal, meant)
            views += (size, size + len(literal))
            texts += (place, start)
            size += len(literal) + len(meant)
            place = end
        if not pieces:
            return None
        return View(b"".join([*pieces, text[place:]]), [*views, size], [*texts, place], len(text))


def unfinished(text: bytes) -> int:
    """Return how many bytes at the end of `text` may be the first part of an escape."""
    found = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_ESCAPE))
    return len(text) - found.start() if found else 0


def _meaning(escape: re.Match[bytes]) -> bytes:
    kind = escape.lastgroup or ""
    said = escape[kind]
    if kind in _BYTES:
        return bytes([int(said, _BYTES[kind])])
    if kind in _NUMBERS:
        number = int(said, _NUMBERS[kind])
        return chr(number).encode(errors="replace") if number < 0x110000 else b"?"
    if kind == "low":
        return chr(0x10000 + (int(escape["high"], 16) - 0xD800 << 10) + int(said, 16) - 0xDC00).encode()
    return {"plain": said, "control": _CONTROLS.get(said, b""), "entity": _ENTITIES.get(said, b"")}.get(kind, b"'")
