"""What a person would see of a terminal's output: escape sequences, carriage returns and redraws applied."""

from __future__ import annotations

import re
from typing import Final

_SCROLLBACK = 20_000
# A full-screen program says so by switching to the alternate screen, and back when it ends.
_SWITCH: Final = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")


def plain(output: bytes, columns: int, rows: int, before: bytes = b"") -> str:
    """`output` as lines of text.

    While a full-screen program runs, it is that program's whole screen, for which `before`, what was written before
    `output`, is looked at too.
    """
    switches = list(_SWITCH.finditer(before + output))
    if switches and switches[-1][1] == b"h":
        import pyte  # noqa: PLC0415 - slow to load, and few commands need it

        screen = pyte.Screen(columns, rows)
        pyte.ByteStream(screen).feed((before + output)[switches[-1].end() :])
        return _text(list(screen.display))
    return _scrolled(_without_full_screens(output), columns, rows)


def _without_full_screens(output: bytes) -> bytes:
    """What full-screen programs drew vanishes with them."""
    kept, shown, start = [], True, 0
    for switch in _SWITCH.finditer(output):
        if shown and switch[1] == b"h":
            kept.append(output[start : switch.start()])
            shown = False
        elif switch[1] == b"l":
            # One that began before this output: nothing of it is ours to show.
            kept = kept if not shown else []
            shown, start = True, switch.end()
    return b"".join([*kept, output[start:] if shown else b""])


def _scrolled(output: bytes, columns: int, rows: int) -> str:
    import pyte  # noqa: PLC0415

    screen = pyte.HistoryScreen(columns, rows, history=_SCROLLBACK, ratio=0.5)
    pyte.ByteStream(screen).feed(output)
    above = ["".join(line[column].data for column in range(columns)) for line in screen.history.top]
    return _text([*above, *screen.display])


def _text(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).rstrip("\n")
