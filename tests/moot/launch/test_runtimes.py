"""The runtimes that moot.toml may name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from claude_bottle.backend.table import BACKENDS
from moot.bottled.window import BACKEND_VARIABLE, backend_of
from moot.config.reading import config_of
from moot.known_words import BOTTLE_BACKENDS
from moot.known_words import RUNTIMES as NAMES
from moot.runtimes import runtime_named
from moot.runtimes.table import RUNTIMES


def test_moot_toml_can_name_each_runtime_and_no_other(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=30)
    assert set(RUNTIMES) == set(NAMES)
    assert [runtime_named(name, tmp_path).name for name in NAMES] == list(NAMES)


def test_the_backends_of_bottles_are_those_of_moot_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuple(BACKENDS) == BOTTLE_BACKENDS
    config = config_of({"harness": {"bottle_backend": "docker"}}, tmp_path / "moot.toml")
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    assert backend_of(config) == "docker"
    monkeypatch.setenv(BACKEND_VARIABLE, "pyro")
    assert backend_of(config) == "pyro"
