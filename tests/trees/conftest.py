"""Trees on folders of this host."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.trees.host_tree import DEADLINE, HostTree, host_tree

BUILD = Path(__file__).parents[2] / "guest" / "build"

MakeTree = Callable[[], HostTree]


@pytest.fixture(scope="session")
def tool_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest's tool as it goes into a machine."""
    binary = tmp_path_factory.mktemp("tool") / "tool"
    subprocess.run([BUILD, "tool", binary], check=True, timeout=DEADLINE)
    return binary


@pytest.fixture
def host(tool_binary: Path, tmp_path: Path) -> HostTree:
    """An empty tree."""
    return host_tree(tool_binary, tmp_path / "tree")


@pytest.fixture(scope="module")
def new_host(tool_binary: Path) -> Iterator[MakeTree]:
    """Makes an empty tree with each call: for tests that hypothesis runs many times."""
    with TemporaryDirectory(prefix="pyro-trees-") as name:
        count = iter(range(1_000_000))
        yield lambda: host_tree(tool_binary, Path(name) / str(next(count)))
