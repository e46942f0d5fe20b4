"""docs/speed.md has every row that SPEC.md promises a speed for, and SPEC.md has every target of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.speed.page import PAGE, PICTURE, Report, write
from benchmarks.speed.rows import ROWS, Row, Samples, Target
from tests.style.project import ROOT

SPEC = (ROOT / "SPEC.md").read_text()
PROMISES = [(row, target) for row in ROWS for target in row.targets]


def row_titles(page: str) -> set[str]:
    """Return the first cells of all tables."""
    return set(re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE))


def test_the_page_has_every_row() -> None:
    missing = {row.title for row in ROWS} - row_titles((ROOT / PAGE).read_text())

    assert missing == set(), "run 'make bench', which writes the page"


@pytest.mark.parametrize(("row", "target"), PROMISES, ids=lambda one: getattr(one, "title", getattr(one, "column", "")))
def test_the_spec_has_each_target_of_the_page(row: Row, target: Target) -> None:
    assert f"| {target.promise(row)}" in SPEC, "write the line into SPEC.md, or change benchmarks/speed/rows.py"


def test_each_promise_of_the_spec_about_the_page_is_a_target() -> None:
    lines = re.findall(r"^\| (.*?)\.? \| `benchmarks/speed/measure.py::\w+` \|$", SPEC, re.MULTILINE)

    assert sorted(lines) == sorted(target.promise(row) for row, target in PROMISES)


@pytest.mark.parametrize(
    ("target", "samples", "wanted"),
    [
        (Target("uml", 0.5, "docker"), {"uml": [40, 50, 900], "docker": [100, 100, 1]}, "uml 0.50 ≤ 0.5 × docker"),
        (Target("uml", 0.4, "docker"), {"uml": [50], "docker": [100]}, "**not reached**: uml 0.50 of 0.4 × docker"),
        (Target("uml", 200, at_least=True), {"uml": [150]}, "**not reached**: uml 150 of 200"),
        (Target("uml", 200, at_least=True), {"uml": [250]}, "uml 250 ≥ 200"),
        (Target("uml", 0.4, "docker"), {"uml": [50]}, "not measured here"),
    ],
)
def test_a_target_is_compared_with_medians_of_the_run(target: Target, samples: Samples, wanted: str) -> None:
    assert target.verdict(samples) == wanted


def test_a_page_is_written_without_a_column_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    samples = {row.title: {"host": [2.0, 4.0], "uml": [6.0]} for row in ROWS[1:]}
    outcomes = {"tests": {"host": "3 passed", "uml": "2 passed"}}
    report = Report(
        host={"pyro": "1"},
        columns=["host", "uml"],
        absent={"docker": "no root"},
        left_out={ROWS[0].title: "no spares"},
        samples=samples,
        outcomes=outcomes,
    )

    write(report)

    page = PAGE.read_text()
    assert {row.title for row in ROWS} <= row_titles(page)
    assert "| Docker | not on this host: no root |" in page
    assert "left out: no spares" in page and "- tests: 3 passed; UML: 2 passed" in page
    assert "6.00 ms (6.00; 1) 2.00 ×" in page
    assert PICTURE.read_text().count("<rect") > len(ROWS) / 2
