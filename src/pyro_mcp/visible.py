"""Untrusted text in a form in which a person sees every character of it."""

from __future__ import annotations

import unicodedata

# Printable by their category, but without any shape of their own: Unicode's property Default_Ignorable_Code_Point
# (DerivedCoreProperties.txt) without the characters that `isprintable` refuses already, and the blank Braille pattern.
_INVISIBLE = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0100, 0xE01EF),
)
_MOST_MARKS = 2


def visible(text: str, *, keep: str = "") -> str:
    """Return `text` with an escape for each character that acts on a terminal, reorders text, or cannot be seen.

    The characters of `keep` stay. Of combining marks in a row only the first two stay: more would cover other lines.
    """
    found, marks = [], 0
    for one in text:
        marks = marks + 1 if unicodedata.combining(one) else 0
        is_plain = (one.isprintable() and not is_invisible(one)) or one in keep
        found.append(one if is_plain and marks <= _MOST_MARKS else _escape(one))
    return "".join(found)


def visible_line(text: str, most: int = 200) -> str:
    """Return `text` as one visible line of at most `most` characters; what is cut is counted at its end."""
    line = visible(text[: most + 1])
    if len(line) <= most and len(text) <= most:
        return line
    end = f"… ({len(text)} characters)"
    return line[: max(0, most - len(end))] + end


def is_invisible(character: str) -> bool:
    """Return whether a character that Python calls printable has no shape of its own."""
    code = ord(character)
    return code >= _INVISIBLE[0][0] and any(first <= code <= last for first, last in _INVISIBLE)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
