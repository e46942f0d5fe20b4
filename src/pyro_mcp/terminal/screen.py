"""The screen of a terminal, as xterm has it, without colours; its output may be hostile.

Rows are immutable strings of one character per cell, so no operation costs more than a copy of one row or of the list
of rows, however large the screen is, and equal rows share their memory.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right, insort
from functools import lru_cache

ORIGIN, AUTOWRAP, INSERT, NEWLINE = "?6", "?7", "4", "20"
"""Modes, as the sequences that set them name them."""
_MOST_LINES = 20_000
_MOST_CHARACTERS = 1024 * 1024
_LONGEST_CLUSTER = 8

# Lone surrogates are in no decoded text, so they can stand in a row for what is not one character in one cell.
_SECOND_HALF = "\ud800"
_CLUSTERS = range(0xD801, 0xE000)


class Screen:
    """A screen of `columns` × `rows`, and above it what has scrolled off, if `scrollback` is kept.

    Of that, the last 20,000 lines and 1 Mi characters are kept. Columns and rows count from 0.
    """

    def __init__(self, columns: int, rows: int, *, scrollback: bool = False) -> None:
        self._columns, self._rows = columns, rows
        self._scrollback = scrollback
        self._clusters: dict[str, str] = {}
        self._cluster_text: dict[int, str] = {ord(_SECOND_HALF): ""}
        self.reset()

    def reset(self) -> None:
        """Begin anew, with everything empty."""
        self._lines: list[str] = []  # what has scrolled off, then the screen without the empty rows at its end
        self._top = 0  # how many of them have scrolled off
        self._scrolled = 0  # characters in these
        self._x = self._y = 0  # the column is `columns` once the last one is written: the next text wraps
        self._first, self._last = 0, self._rows - 1  # the rows that scroll
        self._saved = (0, 0)
        self._modes = {AUTOWRAP}
        self._tabs = list(range(8, self._columns, 8))
        self._latest = ""

    def lines(self) -> list[str]:
        """Return what is shown, from the oldest line to the last that is not empty, without spaces at their ends."""
        return [line.translate(self._cluster_text).rstrip() for line in self._lines]

    # ---- rows ----

    def _row(self, y: int) -> str:
        at = self._top + y
        return self._lines[at] if at < len(self._lines) else ""

    def _put(self, y: int, row: str) -> None:
        at = self._top + y
        if at >= len(self._lines):
            self._lines.extend([""] * (at + 1 - len(self._lines)))
        self._lines[at] = row

    def _shift(self, first: int, last: int, count: int) -> None:
        """Move the rows of a region up, or down by a negative count; empty ones come in."""
        self._put(last, self._row(last))
        first, end = self._top + first, self._top + last + 1
        size = min(abs(count), end - first)
        if count > 0:
            self._lines[end:end] = [""] * size
            del self._lines[first : first + size]
        else:
            del self._lines[end - size : end]
            self._lines[first:first] = [""] * size

    def _scroll_off(self) -> None:
        """Move the screen's first row above it."""
        if len(self._lines) <= self._top:
            self._lines.append("")
        self._scrolled += len(self._lines[self._top])
        self._top += 1
        if not self._scrollback:
            self._forget(self._top)
        elif self._top > 2 * _MOST_LINES or self._scrolled > 2 * _MOST_CHARACTERS:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        count, left = 0, self._scrolled
        while count < self._top and (self._top - count > _MOST_LINES or left > _MOST_CHARACTERS):
            left -= len(self._lines[count])
            count += 1
        self._forget(count)

    def _forget(self, count: int) -> None:
        self._scrolled -= sum(map(len, self._lines[:count]))
        del self._lines[:count]
        self._top -= count

    # ---- text ----

    def write(self, text: str) -> None:
        """Show text, which holds no control character, from the cursor on."""
        cells = text if text.isascii() else self._cells(text)
        if cells:
            self._latest = cells[-2:] if cells[-1] == _SECOND_HALF else cells[-1]
            self._write(cells)

    def repeat(self, count: int) -> None:
        """Show the latest character again, on one line's length at most."""
        self._write(self._latest * min(count, self._columns))

    def _cells(self, text: str) -> str:
        cells: list[str] = []
        for character in text:
            width = _width(character)
            if width > 0:
                cells += (character, _SECOND_HALF) if width == 2 else (character,)
            elif unicodedata.category(character) not in ("Mn", "Me"):
                continue  # it shows nothing, or changes the direction of other text
            elif cells:
                base = len(cells) - (2 if cells[-1] == _SECOND_HALF else 1)
                cells[base] = self._combined(cells[base], character)
            elif self._x > 0:
                row, at = self._row(self._y), self._x - 1
                at -= row[at : at + 1] == _SECOND_HALF
                if 0 <= at < len(row):
                    self._put(self._y, row[:at] + self._combined(row[at], character) + row[at + 1 :])
        return "".join(cells)

    def _combined(self, cell: str, mark: str) -> str:
        """Return the cell that shows `cell` with one more mark, or `cell` when there are too many."""
        cluster = unicodedata.normalize("NFC", self._cluster_text.get(ord(cell), cell) + mark)
        if len(cluster) == 1:
            return cluster
        if cluster not in self._clusters:
            if len(cluster) > _LONGEST_CLUSTER or len(self._clusters) >= len(_CLUSTERS):
                return cell
            number = _CLUSTERS[len(self._clusters)]
            self._clusters[cluster] = chr(number)
            self._cluster_text[number] = cluster
        return self._clusters[cluster]

    def _write(self, cells: str) -> None:
        at = 0
        while at < len(cells):
            if self._x >= self._columns:
                if AUTOWRAP in self._modes:
                    self.next_line()
                else:
                    self._x = self._columns - 1
            end = at + self._columns - self._x
            if AUTOWRAP not in self._modes and end < len(cells):
                last = cells[-1] if cells[-1] != _SECOND_HALF else " "
                self._overwrite(cells[at : end - 1] + last)  # each of the others was written over by the next
                return
            if cells[end : end + 1] == _SECOND_HALF and self._columns > 1:
                end -= 1  # a wide character goes to the next line as a whole
            self._overwrite(cells[at:end])
            if end == at:
                self._x = self._columns
            at = end

    def _overwrite(self, cells: str) -> None:
        row, start, end = self._row(self._y), self._x, self._x + len(cells)
        before = row[:start].ljust(start)
        after = row[start:] if INSERT in self._modes else row[end:]
        if row[start : start + 1] == _SECOND_HALF:
            before = before[:-1] + " "
        if after[:1] == _SECOND_HALF:
            after = " " + after[1:]
        self._put(self._y, (before + cells + after)[: self._columns])
        self._x = end

    # ---- the cursor ----

    @property
    def column(self) -> int:
        """The cursor's column."""
        return min(self._x, self._columns - 1)

    def _to(self, x: int, y: int) -> None:
        self._x = min(max(x, 0), self._columns - 1)
        self._y = min(max(y, 0), self._rows - 1)

    def position(self, y: int, x: int) -> None:
        """Move to a row and a column; in origin mode, the row is one of those that scroll."""
        self._to(x, min(self._first + y, self._last) if ORIGIN in self._modes else y)

    def to_column(self, x: int) -> None:
        """Move within the row."""
        self._to(x, self._y)

    def vertical(self, count: int) -> None:
        """Move down, or up by a negative count, but not out of the rows that scroll."""
        top = self._first if self._y >= self._first else 0
        bottom = self._last if self._y <= self._last else self._rows - 1
        self._to(self.column, min(max(self._y + count, top), bottom))

    def save(self) -> None:
        """Remember where the cursor is."""
        self._saved = (self._x, self._y)

    def restore(self) -> None:
        """Move to where it was."""
        self._x, self._y = self._saved

    def tab(self, count: int) -> None:
        """Move to the next tab stop but `count` - 1, or back by a negative count."""
        if count > 0:
            place = bisect_right(self._tabs, self.column) + count - 1
            self.to_column(self._tabs[place] if place < len(self._tabs) else self._columns - 1)
        else:
            place = bisect_left(self._tabs, self.column) + count
            self.to_column(self._tabs[place] if place >= 0 else 0)

    def set_tab(self) -> None:
        """Set a tab stop here."""
        place = bisect_left(self._tabs, self.column)
        if self._tabs[place : place + 1] != [self.column]:
            insort(self._tabs, self.column)

    def clear_tabs(self, which: int) -> None:
        """Clear the tab stop here (0), or all (3)."""
        if which == 3:
            self._tabs = []
        elif which == 0:
            place = bisect_left(self._tabs, self.column)
            if self._tabs[place : place + 1] == [self.column]:
                del self._tabs[place]

    def newline(self) -> None:
        """Move to the next row; in newline mode, to its beginning."""
        if NEWLINE in self._modes:
            self._x = 0
        self.line_feed()

    def next_line(self) -> None:
        """Move to the beginning of the next row."""
        self._x = 0
        self.line_feed()

    def line_feed(self) -> None:
        """Move to the next row, and scroll at the last."""
        if self._y != self._last:
            self._y = min(self._y + 1, self._rows - 1)
        elif (self._first, self._last) == (0, self._rows - 1):
            self._scroll_off()
        else:
            self._shift(self._first, self._last, 1)

    def reverse_line_feed(self) -> None:
        """Move to the row above, and scroll back at the first."""
        if self._y != self._first:
            self._y = max(self._y - 1, 0)
        else:
            self._shift(self._first, self._last, -1)

    # ---- modes and edits ----

    def set_mode(self, mode: str, *, on: bool) -> None:
        """Switch a mode; unknown ones are ignored."""
        if mode in (ORIGIN, AUTOWRAP, INSERT, NEWLINE):
            self._modes = self._modes | {mode} if on else self._modes - {mode}
            if mode == ORIGIN:
                self.position(0, 0)

    def set_margins(self, first: int, last: int) -> None:
        """Let only the rows from `first` to `last` scroll."""
        last = min(last, self._rows - 1)
        if first < last:
            self._first, self._last = first, last
            self.position(0, 0)

    def fill(self) -> None:
        """Show the alignment pattern: the letter E everywhere."""
        self._first, self._last = 0, self._rows - 1
        self._lines[self._top :] = ["E" * self._columns] * self._rows
        self._to(0, 0)

    def scroll(self, count: int) -> None:
        """Move the rows that scroll up, or down by a negative count."""
        self._shift(self._first, self._last, count)

    def delete_lines(self, count: int) -> None:
        """Delete lines from the cursor on, or insert a negative count of them."""
        if self._first <= self._y <= self._last:
            self._shift(self._y, self._last, count)
            self._x = 0

    def erase_display(self, how: int) -> None:
        """Erase what is after the cursor (0), before it (1), everything (2), or that and what has scrolled off (3)."""
        here = self._top + self._y
        if how == 0:
            self.erase_line(0)
            del self._lines[here + 1 :]
        elif how == 1:
            self._lines[self._top : here] = [""] * len(self._lines[self._top : here])
            self.erase_line(1)
        elif how in (2, 3):
            del self._lines[self._top :]
            if how == 3:
                self._forget(self._top)

    def erase_line(self, how: int) -> None:
        """Erase what is after the cursor in its row (0), before it (1), or all (2)."""
        row, x = self._row(self._y), self.column
        if row:
            self._put(self._y, {0: row[:x], 1: " " * (x + 1) + row[x + 1 :], 2: ""}.get(how, row))

    def insert(self, count: int) -> None:
        """Insert spaces at the cursor."""
        self._edit(0, " " * min(count, self._columns))

    def delete(self, count: int) -> None:
        """Delete characters at the cursor."""
        self._edit(count, "")

    def erase(self, count: int) -> None:
        """Write spaces at the cursor, which stays."""
        count = min(count, self._columns - self.column)
        self._edit(count, " " * count)

    def _edit(self, count: int, text: str) -> None:
        """Put `text` in the place of the next `count` characters."""
        row, x = self._row(self._y), self.column
        if x < len(row):
            self._put(self._y, (row[:x] + text + row[x + count :])[: self._columns])


@lru_cache(maxsize=4096)
def _width(character: str) -> int:
    from wcwidth import wcwidth  # noqa: PLC0415 - slow to load, and most output is ASCII

    return wcwidth(character)
