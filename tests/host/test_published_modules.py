"""The example in the documentation of `pyro_mcp.host` does what it says."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from pyro_mcp import host
from pyro_mcp.errors import Busy, HostToolMissing
from pyro_mcp.host.files import locked, private_directory, write_atomic
from pyro_mcp.host.process import run


def test_the_documented_example_holds(tmp_path: Path) -> None:
    folder = private_directory(tmp_path / "state/example")
    with locked(folder / "lock", deadline_seconds=10):
        version = run(["git", "--version"], deadline_seconds=10).stdout
        write_atomic(folder / "version", version.decode())

        with pytest.raises(Busy), locked(folder / "lock", deadline_seconds=0):
            pass
    with pytest.raises(HostToolMissing):
        run(["no-such-program"], deadline_seconds=10)

    assert (folder / "version").read_text().startswith("git version")
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", host.__all__)
def test_a_published_module_documents_its_public_names(name: str) -> None:
    module = importlib.import_module(f"pyro_mcp.host.{name}")
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]

    assert module.__doc__
    assert [value.__name__ for value in own if not value.__name__.startswith("_") and not value.__doc__] == []
