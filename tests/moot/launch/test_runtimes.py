"""The runtimes that moot.toml may name."""

from __future__ import annotations

import subprocess
from pathlib import Path

from moot.known_words import RUNTIMES as NAMES
from moot.runtimes import runtime_named
from moot.runtimes.table import RUNTIMES


def test_moot_toml_can_name_each_runtime_and_no_other(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=30)
    assert set(RUNTIMES) == set(NAMES)
    assert [runtime_named(name, tmp_path).name for name in NAMES] == list(NAMES)
