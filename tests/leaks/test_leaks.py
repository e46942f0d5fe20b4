"""No forbidden traffic leaves a guest, and docs/leaks.md holds the results."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.leaks.cases import cases, firsts
from tests.leaks.suite import LATER, Result
from tests.leaks.table import PART, TABLE, WHOLE, run_suite, table

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes network namespaces: run the tests as root"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="there is no /dev/net/tun"),
]

# Under emulation, with the machine busy: the program's own start included.
SOON = 4.0


@pytest.fixture(scope="module")
def results(warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Every case's result; the suite runs once, in two or three minutes."""
    return {result.id: result for result in run_suite(warm_cache, tmp_path_factory.mktemp("leaks"), WHOLE)}


@pytest.fixture(scope="module")
def emulated(warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """The results of some cases without the kernel that is a process; it takes about a minute."""
    found = run_suite(warm_cache, tmp_path_factory.mktemp("emulated"), PART, part=True)
    return {result.id: result for result in found}


@pytest.mark.parametrize("id_", [*(case.id for case in cases()), *LATER])
def test_nothing_gets_out_that_should_not(results: dict[str, Result], id_: str) -> None:
    check(results[id_])


@pytest.mark.parametrize("id_", [case.id for case in firsts()])
def test_nothing_gets_out_of_an_emulated_machine_either(emulated: dict[str, Result], id_: str) -> None:
    check(emulated[id_])


def check(result: Result) -> None:
    assert result.alive, f"the canary was dead, so nothing is shown: {result.said}"
    assert result.arrived == result.reaches, result.said
    assert result.slow or result.reaches or result.seconds < SOON, f"the refusal was slow: {result.said}"


def test_the_table_in_the_documents_is_what_the_suite_found(results: dict[str, Result]) -> None:
    assert TABLE.read_text() == table(list(results.values())), "run: .venv/bin/python -m tests.leaks.table"


def test_nothing_of_the_lab_is_left(results: dict[str, Result]) -> None:
    assert results
    assert subprocess.run(["pgrep", "-f", "tests.leaks.[w]orld"], check=False, capture_output=True).stdout == b""
