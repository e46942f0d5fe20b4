"""What a person sees: tables that fit 80 columns, sizes, progress."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyro_mcp.hints import CommandWords, render_hints

_BAR = 20
_SHOWN_AFTER = 0.3  # seconds; quicker work needs no progress


def print_json(result: Mapping[str, object]) -> None:
    """Print the result as the SDK returns it, its hints in the words of the command line."""
    print(json.dumps(in_command_words(result), indent=2))


def in_command_words(value: Any) -> Any:
    """Return a hint, or a result with every hint in it, in the words of the command line."""
    return render_hints(value, CommandWords())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns; the first row is the heading, the last column takes the rest of the line."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    left = max(20, shutil.get_terminal_size().columns - sum(widths) - 2 * len(widths))
    lines = []
    for row in rows:
        last = row[-1] if len(row[-1]) <= left or not sys.stdout.isatty() else row[-1][: left - 1] + "…"
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, last]).rstrip())
    return "\n".join(lines)


def paragraph(text: str, indent: int = 2) -> str:
    """Return a sentence on as many lines as it takes, all but the first indented; words are never broken."""
    width, further = shutil.get_terminal_size().columns, " " * indent
    return textwrap.fill(text, width, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)


def shown(name: str) -> str:
    """Return a name from a guest on one line, quoted and escaped if a terminal would act on it."""
    return name if name.isprintable() else json.dumps(name)


def size(count: int | None) -> str:
    """Return a number of bytes with its unit."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def ago(moment: float) -> str:
    """Return roughly how long ago a moment was."""
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit} ago"
    return f"{seconds:.0f}s ago"


def until(moment: float) -> str:
    """Return how soon, roughly."""
    seconds = moment - time.time()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"in {seconds / length:.0f} {unit}"
    return f"in {seconds:.0f} s" if seconds > 0 else "now"


class ProgressLine:
    """Shows a `Progress` as one line on stderr that rewrites itself; silent when stderr is not a terminal."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._shown = False
        self._on = sys.stderr.isatty()

    def __call__(self, message: str, fraction: float | None = None) -> None:
        if not self._on or (not self._shown and time.monotonic() - self._started < _SHOWN_AFTER and fraction == 1.0):
            return
        bar = "" if fraction is None else f"[{'#' * round(fraction * _BAR):<{_BAR}}] "
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{f'{bar}{message}'[:width]}")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


@contextmanager
def progress_line() -> Iterator[ProgressLine]:
    """Yield a progress line that is removed when the block ends."""
    line = ProgressLine()
    try:
        yield line
    finally:
        line.clear()
