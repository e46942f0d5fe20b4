"""The shell scripts are sound, and their table of packages agrees with the program's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pyro_mcp.host.programs import PACKAGE_OF
from tests.style.project import ROOT, files, shown, text_of

SCRIPTS = [path for path in files() if text_of(path).startswith(("#!/bin/sh", "#!/usr/bin/env bash"))]


@pytest.mark.parametrize("script", SCRIPTS, ids=shown)
def test_a_script_is_executable_and_parses(script: Path) -> None:
    shell = "bash" if "bash" in script.read_text().splitlines()[0] else "sh"

    assert os.access(script, os.X_OK)
    assert subprocess.run([shell, "-n", script], check=False, timeout=30).returncode == 0


@pytest.mark.parametrize("script", SCRIPTS, ids=shown)
def test_a_script_stops_at_its_first_failure(script: Path) -> None:
    wanted = "set -euo pipefail" if "bash" in script.read_text().splitlines()[0] else "set -eu"

    assert wanted in script.read_text().splitlines()


def test_setup_installs_the_package_of_every_program_that_we_run() -> None:
    table = (ROOT / "scripts/setup-host").read_text().split("table='\n")[1].split("'\n")[0]
    installed = {line.split()[1] for line in table.splitlines()}

    assert set(PACKAGE_OF.values()) - installed == set()
