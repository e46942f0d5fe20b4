"""Measure reset, diff and snapshot on trees of 100 to 100,000 files: docs/cost-by-size.svg and the figures beside it.

`python -m benchmarks.by_size`; about two minutes. Each must be a level line: the cost does not grow with the tree.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import workspaces
from pyro_mcp import Pyro

_SIZES = [100, 1_000, 10_000, 100_000]
_RUNS = 5
_TARGET = Path("docs/cost-by-size")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 360, 60, 50
_MOST_MS = 300
_COLOURS = {"reset": "#2f6f4f", "snapshot": "#8a5a00", "diff of 3 changes": "#28508c"}

Costs = Mapping[int, Mapping[str, float]]


def main() -> int:
    """Measure, write both files, print the figures."""
    with tempfile.TemporaryDirectory(prefix="pyro-bench-") as state:
        Pyro(state=Path(state, "pyro-mcp")).prepare("debian:12")
        costs = workspaces.by_size("debian:12", Path(state, "pyro-mcp"), _SIZES, _RUNS)
    text = "\n".join(_rows(costs))
    _TARGET.with_suffix(".txt").write_text(f"{text}\n")
    _TARGET.with_suffix(".svg").write_text("\n".join(_picture(costs)) + "\n")
    print(text)
    return 0


def _rows(costs: Costs) -> Iterator[str]:
    yield f"best of {_RUNS}, ms{'':8}" + "".join(f"{name:>20}" for name in _COLOURS)
    for files, found in costs.items():
        yield f"{files:>9,} files{'':8}" + "".join(f"{found[name]:>20.0f}" for name in _COLOURS)


def _picture(costs: Costs) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">'
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    for value in range(0, _MOST_MS + 1, 50):
        y = _y(value)
        yield f'<path d="M{_LEFT} {y:.0f}H{_WIDTH - 20}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.0f}" font-size="12" text-anchor="end">{value} ms</text>'
    for files in costs:
        x = _x(files)
        yield f'<text x="{x:.0f}" y="{_HEIGHT - 28}" font-size="12" text-anchor="middle">{files:,}</text>'
    middle = (_LEFT + _WIDTH - 20) / 2
    yield f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" font-size="12" text-anchor="middle">files in /workspace</text>'
    for name, colour in _COLOURS.items():
        points = " ".join(f"{_x(files):.0f},{_y(found[name]):.0f}" for files, found in costs.items())
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        last = costs[_SIZES[-1]][name]
        yield (
            f'<text x="{_WIDTH - 24}" y="{_y(last) - 6:.0f}" font-size="12" text-anchor="end" fill="{colour}">'
            f"{name}: {last:.0f} ms</text>"
        )
    yield "</svg>"


def _x(files: int) -> float:
    low, high = math.log10(_SIZES[0]), math.log10(_SIZES[-1])
    return _LEFT + 20 + (math.log10(files) - low) / (high - low) * (_WIDTH - _LEFT - 80)


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - min(value, _MOST_MS) / _MOST_MS * (_HEIGHT - _BOTTOM - 20)


if __name__ == "__main__":
    sys.exit(main())
