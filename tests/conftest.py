"""What every test may use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home with the XDG folders `cache`, `state` and `run` below it, removed afterwards.

    pytest's own `tmp_path` is too deep for Unix sockets, whose paths hold at most 107 bytes.
    """
    path = Path(tempfile.mkdtemp(prefix="pyro-", dir="/tmp"))
    monkeypatch.setenv("HOME", str(path))
    for variable, name in (("XDG_CACHE_HOME", "cache"), ("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run")):
        (path / name).mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(path / name))
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    yield path
    shutil.rmtree(path)
