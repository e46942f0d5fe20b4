"""No forbidden traffic leaves a guest, and docs/leaks.md holds the results."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.leaks.cases import cases, firsts
from tests.leaks.suite import IN_CONTAINERS, LATER, Result
from tests.leaks.table import BOTTLES, PART, TABLE, WHOLE, WORKSPACE, run_bottles, run_suite, table

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes network namespaces: run the tests as root"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="there is no /dev/net/tun"),
]

# Under emulation, with the machine busy: the program's own start included.
SOON = 4.0


@pytest.fixture(scope="module")
def results(warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Every case's result; the suite runs once, in two or three minutes."""
    return by_id(run_suite(warm_cache, tmp_path_factory.mktemp("leaks"), WHOLE))


@pytest.fixture(scope="module")
def bottles(warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Result] | None]:
    """The results in bottles of each backend; it takes two minutes."""
    return run_bottles(warm_cache, tmp_path_factory.mktemp("bottles"))


@pytest.fixture(scope="module")
def emulated(warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """The results of some cases without the kernel that is a process; it takes about a minute."""
    return by_id(run_suite(warm_cache, tmp_path_factory.mktemp("emulated"), PART, part=True))


def by_id(found: list[Result] | None) -> dict[str, Result]:
    """Return results by their case; skip the test where such guests cannot run."""
    if found is None:
        pytest.skip("there is no Docker Engine, and Debian's cannot be fetched")
    return {result.id: result for result in found}


@pytest.mark.parametrize("id_", [*(case.id for case in cases()), *LATER])
def test_nothing_gets_out_that_should_not(results: dict[str, Result], id_: str) -> None:
    check(results[id_])


@pytest.mark.parametrize("id_", [case.id for case in cases()])
@pytest.mark.parametrize("backend", BOTTLES)
def test_nothing_gets_out_of_a_bottle_that_should_not(
    bottles: dict[str, list[Result] | None], backend: str, id_: str
) -> None:
    check(by_id(bottles[backend])[id_], soon=False)


@pytest.mark.parametrize("id_", IN_CONTAINERS)
def test_a_container_without_its_gateway_has_no_network(bottles: dict[str, list[Result] | None], id_: str) -> None:
    check(by_id(bottles["docker"])[id_], soon=False)


@pytest.mark.parametrize("id_", [case.id for case in firsts()])
def test_nothing_gets_out_of_an_emulated_machine_either(emulated: dict[str, Result], id_: str) -> None:
    check(emulated[id_])


def check(result: Result, *, soon: bool = True) -> None:
    assert result.alive, f"the canary was dead, so nothing is shown: {result.said}"
    assert result.arrived == result.reaches, result.said
    assert not soon or result.slow or result.reaches or result.seconds < SOON, f"the refusal was slow: {result.said}"


def test_the_table_in_the_documents_is_what_the_suite_found(
    results: dict[str, Result], bottles: dict[str, list[Result] | None]
) -> None:
    found = {kind: list(by_id(rows).values()) for kind, rows in bottles.items()}
    written = table({WORKSPACE: list(results.values()), **found})
    assert TABLE.read_text() == written, "run: .venv/bin/python -m tests.leaks.table"


def test_nothing_of_the_lab_is_left(results: dict[str, Result]) -> None:
    assert results
    assert subprocess.run(["pgrep", "-f", "tests.leaks.[w]orld"], check=False, capture_output=True).stdout == b""
