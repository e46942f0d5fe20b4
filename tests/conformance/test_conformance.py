"""The conformance suite of the Model Context Protocol: against our transport with its own tools, and against ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mcp_server.conftest import environment
from tests.style.project import ROOT

SUITE = ROOT / "build/hosts/conformance"
HERE = Path(__file__).parent
REVISIONS = ("2025-11-25", "2026-07-28")
# What the suite can ask of any server; all of it must pass.
OF_THE_PRODUCT = (
    ("server-initialize", "2025-11-25"),
    ("server-session-lifecycle", "2025-11-25"),
    ("tools-list", "2025-11-25"),
    ("tools-list", "2026-07-28"),
    ("dns-rebinding-protection", "2025-11-25"),
    ("dns-rebinding-protection", "2026-07-28"),
    ("http-header-validation", "2026-07-28"),
)


@contextmanager
def serving(which: str) -> Iterator[str]:
    """A server of that kind; yields its address."""
    argv = [sys.executable, str(HERE / "server.py"), which]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def suite(*words: str) -> subprocess.CompletedProcess[str]:
    assert (SUITE / "suite.js").exists(), f"the suite is not in {SUITE}; run: make setup-test"
    argv = [str(SUITE / "node"), str((SUITE / "suite.js").resolve()), "server", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_suite_fails_only_where_its_baseline_says_why(revision: str, fake_home: Path) -> None:
    assert fake_home.exists()
    with serving("fixtures") as address:
        baseline = str(HERE / f"{revision}.yml")
        done = suite("--url", address, "--requirements", revision, "--expected-failures", baseline)

    assert done.returncode == 0, done.stdout[-4000:]
    assert "Baseline check passed" in done.stdout


def test_our_own_server_passes_what_the_suite_asks_of_any(fake_home: Path) -> None:
    assert fake_home.exists()
    with serving("product") as address:
        for scenario, version in OF_THE_PRODUCT:
            done = suite("--url", address, "--scenario", scenario, "--spec-version", version)
            assert done.returncode == 0 and "0 failed, 0 warnings" in done.stdout, done.stdout[-4000:]
