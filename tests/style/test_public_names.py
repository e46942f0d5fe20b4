"""A package's public names are listed, in order, and exist."""

from __future__ import annotations

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.style.project import ROOT, python_files

SOURCE = ROOT / "src"
PACKAGES = [
    ".".join(path.parent.relative_to(SOURCE).parts) for path in python_files(SOURCE) if path.name == "__init__.py"
]


def names_bound_by(path: Path) -> set[str]:
    """Return the public names that a module binds at its top level."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(), path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")}


def in_order(names: list[str]) -> list[str]:
    """Return each name once: constants, then classes, then the rest, as ruff's RUF022 orders them."""
    return sorted(set(names), key=lambda name: (not name.isupper(), not name[0].isupper(), name))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_its_public_names_in_order(package: str) -> None:
    module = importlib.import_module(package)
    listed = list(getattr(module, "__all__", []))

    assert listed == in_order(listed)
    assert [name for name in listed if not hasattr(module, name) and find_spec(f"{package}.{name}") is None] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_that_binds_names_says_which_are_public(package: str) -> None:
    module = importlib.import_module(package)

    assert hasattr(module, "__all__") or not names_bound_by(SOURCE.joinpath(*package.split("."), "__init__.py"))


def test_names_that_are_out_of_order_or_doubled_are_seen() -> None:
    assert in_order(["open", "Machine", "LIMIT", "Engine", "open"]) == ["LIMIT", "Engine", "Machine", "open"]


def test_bound_names_are_seen_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from os import path as where\n"
        "import sys\n"
        "LIMIT = 1\nsize: int = 2\n_private = 3\n"
        "def act(): ...\nclass Thing: ...\n"
    )

    assert names_bound_by(path) == {"where", "LIMIT", "size", "act", "Thing"}
