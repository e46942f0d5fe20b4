"""A hostile agent achieves nothing that was not approved, and docs/hostile-agent.md holds the results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bottles.evil.attempts import ATTEMPTS
from tests.bottles.evil.record import Result
from tests.bottles.evil.table import BACKENDS, TABLE, run_both, table

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes network namespaces: run the tests as root"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="there is no /dev/net/tun"),
]


@pytest.fixture(scope="module")
def results(warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Result] | None]:
    """The result of every attempt on each backend; the suite runs once, in about a minute."""
    return run_both(warm_cache, tmp_path_factory.mktemp("evil"))


def of(results: dict[str, list[Result] | None], backend: str) -> dict[str, Result]:
    """Return the results on a backend by their attempt; skip the test where it cannot run."""
    found = results[backend]
    if found is None:
        pytest.skip("there is no Docker Engine, and Debian's cannot be fetched")
    return {one.id: one for one in found}


@pytest.mark.parametrize("id_", ATTEMPTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_hostile_agent_achieves_nothing(results: dict[str, list[Result] | None], backend: str, id_: str) -> None:
    result = of(results, backend)[id_]
    assert result.alive, f"the control did not arrive, so nothing is shown: {result.said}"
    assert not result.reached, result.said


def test_the_table_in_the_documents_is_what_the_attempts_found(results: dict[str, list[Result] | None]) -> None:
    written = table({backend: list(of(results, backend).values()) for backend in BACKENDS})
    assert TABLE.read_text() == written, "run: .venv/bin/python -m tests.bottles.evil.table"


def test_every_attempt_has_a_control_and_an_oracle() -> None:
    for one in ATTEMPTS.values():
        assert one.control and one.oracle and one.what, one.id
        assert "|" not in one.what + one.control + one.oracle, one.id
