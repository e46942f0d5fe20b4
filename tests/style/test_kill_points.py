"""The calls at which crash tests kill a process exist; without a machine this is known in a moment."""

from __future__ import annotations

import re

import pytest

from tests.style.project import ROOT, python_files
from tests.vm.kill_point import found
from tests.vm.test_crashes import LONG_LIFE, MOMENTS

TARGETS = {target for target, _, _ in [*MOMENTS.values(), *LONG_LIFE.values()]} | {
    target
    for path in python_files(ROOT / "tests")
    for target in re.findall(r'"(pyro_mcp[\w.]*:[\w.]+)"', path.read_text())
}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_call_that_a_crash_test_names_exists(target: str) -> None:
    assert found(target)[2] is not None
