"""The modes that a program sets on a terminal, and how to reset them when the program has no chance to do so."""

from __future__ import annotations

import re

# DEC private modes (xterm's "Control Sequences", DECSET), by their number: the value that they have at the start.
_AT_START = {
    1: False,  # cursor keys send application codes
    25: True,  # the cursor is visible
    **dict.fromkeys((47, 1047, 1049), False),  # the alternate screen
    **dict.fromkeys((9, 1000, 1001, 1002, 1003, 1005, 1006, 1015, 1016), False),  # reports of the mouse
    1004: False,  # reports of the focus
    2004: False,  # bracketed paste
}
_CHANGE = re.compile(rb"\x1b\[\?([0-9;]{1,64})([hl])")
_UNFINISHED = re.compile(rb"\x1b(?:\[(?:\?[0-9;]{0,64})?)?\Z")
_NORMAL_COLOURS = b"\x1b[m"


class Modes:
    """The modes that differ from those at the start, from all output of a program."""

    def __init__(self) -> None:
        self._changed: dict[int, None] = {}
        self._rest = b""

    def see(self, output: bytes) -> None:
        """Take the next output of the program; a sequence may be spread over several calls."""
        seen = self._rest + output
        for numbers, kind in _CHANGE.findall(seen):
            for number in (int(one) for one in numbers.split(b";") if one):
                if number in _AT_START and (kind == b"h") != _AT_START[number]:
                    self._changed[number] = None
                else:
                    self._changed.pop(number, None)
        unfinished = _UNFINISHED.search(seen)
        self._rest = unfinished.group() if unfinished else b""

    def resets(self) -> bytes:
        """Return what puts a terminal back; nothing for a program that left it as it was."""
        found = [b"\x1b[?%d%b" % (number, b"h" if _AT_START[number] else b"l") for number in self._changed]
        return b"".join([*found, _NORMAL_COLOURS]) if found else b""
