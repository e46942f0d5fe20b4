"""docs/speed.md and its picture, written from the samples of one run."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from benchmarks.speed import rows
from benchmarks.speed.rows import COLUMNS, Row, Samples, shown
from pyro_mcp import __version__

PAGE, PICTURE = Path("docs/speed.md"), Path("docs/speed.svg")
_NAMES = {"host": "the host", "docker": "Docker", "kvm": "KVM", "uml": "UML", "tcg": "TCG"}
_COLOURS = {"docker": "#28508c", "kvm": "#7a3b8f", "uml": "#2f6f4f", "tcg": "#8a5a00"}
_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 760, 250, 60, 9, 10, 56
_LEAST, _MOST = 0.25, 64.0

_HEAD = """\
# Speed

One run on one host: the same work on the host itself, in Docker, and in a machine of each accelerator, in turns, so
that other load hits all of them. `make bench` writes this page anew; `build/speed.json` has every sample.

A cell has the median, and in brackets the best sample and how many there are; behind it stands the quotient of the
medians by the column that is marked ¹. Targets are promises of [SPEC.md](../SPEC.md).
"""
_LIVES = """\
## Making, using and deleting a machine

Docker runs `docker run --rm --network=none IMAGE true` on the root files of the machines. *Create → first result* and
*exec* of a machine are calls of the SDK; `docker` is a process that is started each time. *The whole command* compares
processes: `docker run --rm … true` with `pyro run … true`, which includes the start of Python and the delete.
Docker's *delete* is `docker rm --force`. Bulk is 100 MB of output of `dd` in blocks of 1 MB, or of input of `cat`.
"""
_PROGRAMS = """\
## Small programs

Each stresses one thing ([programs.py](../benchmarks/speed/programs.py)); it counts its own time, which may not exceed
what the host counts. Machines have as many processors as the host, at most 2, and 2 GiB.
"""
_PROJECTS = """\
## Real test suites and builds

The projects of PyPI and npm ([projects.py](../benchmarks/speed/projects.py) has the versions), fetched beforehand: pip
installs from a folder of wheels and one sdist, npm from its cache, both offline, so no figure depends on a network.
Of httpx these are the tests of its client and models, without trio and proxies. Each run starts in the same place as
the one before, with a warm page cache except for the first. The outcome (tests that passed, packages that were
installed) is compared with the host's.
"""


class Report(TypedDict):
    """What a run found, as build/speed.json has it."""

    host: dict[str, str]
    columns: list[str]
    absent: dict[str, str]
    """Columns that could not be measured, and why."""
    left_out: dict[str, str]
    """Rows that could not be measured, and why."""
    samples: Mapping[str, Samples]
    outcomes: Mapping[str, Mapping[str, str]]


def write(report: Report) -> None:
    """Write the page and its picture."""
    PAGE.write_text("\n".join(_page(report)) + "\n")
    PICTURE.write_text("\n".join(_picture(report)) + "\n")


def load_average() -> str:
    """Return the load of this host over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def host_facts(environment: str, docker: str, load: str, minutes: float) -> dict[str, str]:
    """Return what a reader needs to judge the figures."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "pyro": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "environment": environment,
        "processor": f"{processor}, {os.cpu_count()} of them, {memory:.0f} GB of memory",
        "kernel": platform.release(),
        "Docker": docker or "none",
        "load before and after": f"{load} and {load_average()}, of {os.cpu_count()} processors",
        "duration": f"{minutes:.0f} minutes",
    }


def _page(report: Report) -> Iterator[str]:
    yield _HEAD
    yield from ("| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in report["host"].items()))
    for column, why in report["absent"].items():
        yield f"| {_NAMES[column]} | not on this host: {why} |"
    yield f"\n![Each program and project, compared with the host]({PICTURE.name})\n"
    for text, part in ((_LIVES, rows.LIVES), (_PROGRAMS, rows.PROGRAM_ROWS), (_PROJECTS, rows.PROJECT_ROWS)):
        yield text
        yield from _table(report, part)
        yield ""
    yield from _outcomes(report["outcomes"])


def _table(report: Report, part: Sequence[Row]) -> Iterator[str]:
    measured = {name for row in part for name, found in report["samples"].get(row.title, {}).items() if found}
    columns = [name for name in COLUMNS if name in measured]
    with_targets = any(row.targets for row in part)
    heads = [f"{_NAMES[name]}{' ¹' if name == part[0].base else ''}" for name in columns]
    yield f"| | {' | '.join(heads)} |{' target |' if with_targets else ''}"
    yield f"|---|{'---|' * (len(columns) + with_targets)}"
    for row in part:
        samples = report["samples"].get(row.title, {})
        cells = [_cell(row, samples, name) for name in columns]
        verdict = "<br>".join(target.verdict(samples) for target in row.targets)
        if row.title in report["left_out"]:
            verdict = f"left out: {report['left_out'][row.title]}"
        yield f"| {row.title} | {' | '.join(cells)} |{f' {verdict} |' if with_targets else ''}"


def _cell(row: Row, samples: Samples, column: str) -> str:
    found, base = samples.get(column), samples.get(row.base)
    if not found:
        return ""
    median = statistics.median(found)
    best = max(found) if row.unit == "MB/s" else min(found)
    times = f" {shown(median / statistics.median(base))} ×" if base and column != row.base else ""
    return f"{shown(median)} {row.unit} ({shown(best)}; {len(found)}){times}"


def _outcomes(outcomes: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for title, found in outcomes.items():
        others = {_NAMES[name]: said for name, said in found.items() if said != found["host"]}
        differing = "".join(f"; {name}: {said}" for name, said in others.items())
        yield f"- {title}: {found['host']}{differing or ', the same everywhere'}"


def _picture(report: Report) -> Iterator[str]:
    """Yield the lines of a chart: for each row a bar for each column, as long as the logarithm of its ratio."""
    columns = [name for name in _COLOURS if name in report["columns"]]
    part = [row for row in (*rows.PROGRAM_ROWS, *rows.PROJECT_ROWS) if report["samples"].get(row.title, {}).get("host")]
    each = _BAR * len(columns) + _GAP
    height = _TOP + each * len(part) + 10
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">'
    yield f'<rect width="{_WIDTH}" height="{height}" fill="white"/>'
    for number, name in enumerate(columns):
        x = _LEFT + number * 90
        yield f'<rect x="{x}" y="8" width="12" height="12" fill="{_COLOURS[name]}"/>'
        yield f'<text x="{x + 17}" y="18" font-size="12">{_NAMES[name]}</text>'
    for value in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64):
        colour = "#333" if value == 1 else "#ddd"
        yield f'<path d="M{_x(value):.0f} {_TOP - 10}V{height - 8}" stroke="{colour}"/>'
        label = "host" if value == 1 else f"{value:g} ×"
        yield f'<text x="{_x(value):.0f}" y="{_TOP - 16}" font-size="11" text-anchor="middle">{label}</text>'
    for number, row in enumerate(part):
        y = _TOP + number * each
        middle = y + (each - _GAP) / 2 + 4
        yield f'<text x="{_LEFT - 10}" y="{middle:.0f}" font-size="12" text-anchor="end">{row.title}</text>'
        yield from _bars(report["samples"][row.title], columns, y)
    yield "</svg>"


def _bars(samples: Samples, columns: Sequence[str], top: int) -> Iterator[str]:
    for number, name in enumerate(columns):
        if not samples.get(name):
            continue
        times = statistics.median(samples[name]) / statistics.median(samples["host"])
        y, end, start = top + number * _BAR, _x(times), _x(1)
        left, width = min(start, end), max(abs(end - start), 1)
        yield f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{_BAR - 1}" fill="{_COLOURS[name]}"/>'
        beyond = max(start, end) + 3
        yield f'<text x="{beyond:.0f}" y="{y + _BAR - 1}" font-size="9" fill="{_COLOURS[name]}">{shown(times)}</text>'


def _x(times: float) -> float:
    low, high = math.log2(_LEAST), math.log2(_MOST)
    return _LEFT + (math.log2(min(max(times, _LEAST), _MOST)) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)
