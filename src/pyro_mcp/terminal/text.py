"""What a person would see of a terminal's output: escape sequences (ECMA-48, as xterm has them) applied.

Output may be hostile: any bytes are shown somehow, in time and memory that grow with their number only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from pyro_mcp.terminal.screen import Screen

# A full-screen program says so by switching to the alternate screen, and back when it ends.
_SWITCH: Final = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")
_LARGEST_NUMBER = 9999
_MOST_NUMBERS = 16

_TOKEN: Final = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
    r"|(?:\x1b\[|\x9b)(?P<prefix>[<=>?]?)(?P<numbers>[0-?]*)(?P<between>[ -/]*)(?P<csi>[@-~]?)"
    r"|(?:\x1b\]|\x9d)[^\x07\x18\x1a\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC: a title, a colour
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x18\x1a\x1b\x9c]*(?:\x1b\\|\x9c)?"  # DCS, SOS, PM, APC
    r"|\x1b(?P<escape>[ -/]*[0-~])"
    r"|(?P<control>[\x00-\x1f\x7f-\x9f])"
)
_LINE_DRAWING: Final = str.maketrans("`abcdefghijklmnopqrstuvwxyz{|}~", "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")


def plain(output: bytes, columns: int, rows: int, before: bytes = b"") -> str:
    """Return `output` as lines of text.

    While a full-screen program runs, it is that program's whole screen, for which `before`, what was written before
    `output`, is looked at too.
    """
    switches = list(_SWITCH.finditer(before + output))
    if switches and switches[-1][1] == b"h":
        output, terminal = (before + output)[switches[-1].end() :], Terminal(Screen(columns, rows))
    else:
        output, terminal = _without_full_screens(output), Terminal(Screen(columns, rows, scrollback=True))
    terminal.feed(output.decode(errors="replace"))
    return "\n".join(terminal.screen.lines()).rstrip("\n")


def _without_full_screens(output: bytes) -> bytes:
    """Leave out what full-screen programs drew: it vanishes with them."""
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


class Terminal:
    """Applies output to `screen`."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self._charsets, self._charset = ["B", "B"], 0

    def feed(self, output: str) -> None:
        """Apply output of a program."""
        screen = self.screen
        for token in _TOKEN.finditer(output):
            kind = token.lastgroup
            if kind == "text":
                drawn = self._charsets[self._charset] == "0"
                screen.write(token[0].translate(_LINE_DRAWING) if drawn else token[0])
            elif kind == "control":
                if (control := _CONTROLS.get(token[0])) is not None:
                    control(self)
            elif kind == "csi":
                self._sequence(token["prefix"], token["numbers"], token["between"], token["csi"])
            elif kind == "escape":
                self._escape(token["escape"])

    def choose_charset(self, which: int) -> None:
        """Choose one of the two character sets that are ready."""
        self._charset = which

    def _escape(self, said: str) -> None:
        if len(said) == 2 and said[0] in "()":
            self._charsets["()".index(said[0])] = said[1]
        elif said == "c":
            self._charsets, self._charset = ["B", "B"], 0
            self.screen.reset()
        elif (act := _ESCAPES.get(said)) is not None:
            act(self.screen)

    def _sequence(self, prefix: str, said: str, between: str, final: str) -> None:
        if between or prefix not in ("", "?"):
            return
        words = said.split(";", _MOST_NUMBERS)[:_MOST_NUMBERS]
        if final and final in "hl":
            for word in words:
                self.screen.set_mode(f"{prefix}{_number(word)}", on=final == "h")
        elif (act := _SEQUENCES.get(final)) is not None and (not prefix or final in "JK"):
            act(self.screen, [*map(_number, words), 0])


def _number(digits: str) -> int:
    """Return a parameter: 0 when it is missing or not a number, 9999 for whatever is larger."""
    digits = digits.lstrip("0")
    if not digits.isdecimal():
        return 0
    return _LARGEST_NUMBER if len(digits) > 4 else int(digits)


_CONTROLS: dict[str, Callable[[Terminal], None]] = {
    "\b": lambda terminal: terminal.screen.to_column(terminal.screen.column - 1),
    "\t": lambda terminal: terminal.screen.tab(1),
    "\n": lambda terminal: terminal.screen.newline(),
    "\v": lambda terminal: terminal.screen.newline(),
    "\f": lambda terminal: terminal.screen.newline(),
    "\r": lambda terminal: terminal.screen.to_column(0),
    "\x0e": lambda terminal: terminal.choose_charset(1),
    "\x0f": lambda terminal: terminal.choose_charset(0),
    "\x84": lambda terminal: terminal.screen.line_feed(),
    "\x85": lambda terminal: terminal.screen.next_line(),
    "\x88": lambda terminal: terminal.screen.set_tab(),
    "\x8d": lambda terminal: terminal.screen.reverse_line_feed(),
}
_ESCAPES: dict[str, Callable[[Screen], None]] = {
    "#8": Screen.fill,
    "7": Screen.save,
    "8": Screen.restore,
    "D": Screen.line_feed,
    "E": Screen.next_line,
    "H": Screen.set_tab,
    "M": Screen.reverse_line_feed,
}


def _counted(act: Callable[[Screen, int], None]) -> Callable[[Screen, Sequence[int]], None]:
    """Make what a sequence does of what is done so many times: its first number, 1 when that is missing."""
    return lambda screen, numbers: act(screen, numbers[0] or 1)


def _row(screen: Screen, count: int) -> None:
    screen.vertical(count)
    screen.to_column(0)


# By final byte; the numbers end with a 0, so there are always two or more.
_SEQUENCES: dict[str, Callable[[Screen, Sequence[int]], None]] = {
    "@": _counted(Screen.insert),
    "A": _counted(lambda screen, count: screen.vertical(-count)),
    "B": _counted(Screen.vertical),
    "C": _counted(lambda screen, count: screen.to_column(screen.column + count)),
    "D": _counted(lambda screen, count: screen.to_column(screen.column - count)),
    "E": _counted(_row),
    "F": _counted(lambda screen, count: _row(screen, -count)),
    "G": _counted(lambda screen, place: screen.to_column(place - 1)),
    "H": lambda screen, numbers: screen.position((numbers[0] or 1) - 1, (numbers[1] or 1) - 1),
    "I": _counted(Screen.tab),
    "J": lambda screen, numbers: screen.erase_display(numbers[0]),
    "K": lambda screen, numbers: screen.erase_line(numbers[0]),
    "L": _counted(lambda screen, count: screen.delete_lines(-count)),
    "M": _counted(Screen.delete_lines),
    "P": _counted(Screen.delete),
    "S": _counted(Screen.scroll),
    "T": _counted(lambda screen, count: screen.scroll(-count)),
    "X": _counted(Screen.erase),
    "Z": _counted(lambda screen, count: screen.tab(-count)),
    "b": _counted(Screen.repeat),
    "d": _counted(lambda screen, place: screen.position(place - 1, screen.column)),
    "g": lambda screen, numbers: screen.clear_tabs(numbers[0]),
    "r": lambda screen, numbers: screen.set_margins((numbers[0] or 1) - 1, (numbers[1] or _LARGEST_NUMBER) - 1),
    "s": lambda screen, _: screen.save(),
    "u": lambda screen, _: screen.restore(),
}
_SEQUENCES |= {"`": _SEQUENCES["G"], "a": _SEQUENCES["C"], "e": _SEQUENCES["B"], "f": _SEQUENCES["H"]}
