"""Our names in strings exist: in programs that tests run, and in the functions at which a program is to be killed.

No type checker sees these, so a rename that misses one would show only when its virtual machine runs.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import pytest

from tests.style.project import ROOT, python_files, shown

_IMPORT = re.compile(r"from (pyro_mcp[\w.]*) import ([\w, ]+)")
_FUNCTION = re.compile(r"\b(pyro_mcp[\w.]*):([A-Za-z_][\w.]*)")
_PLANTED = {Path(__file__), ROOT / "tests/style/test_layers.py"}


def names_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield the module and the name in it of each import and each "module:function" in a string."""
    for module, names in _IMPORT.findall(text):
        yield from ((module, name.split()[0]) for name in names.split(",") if name.strip())
    yield from _FUNCTION.findall(text)


def exists(module: str, name: str) -> bool:
    """Return whether a module can be imported and has what a dotted name says."""
    try:
        reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError):
        return False
    return True


def strings_of(path: Path) -> Iterator[str]:
    """Yield the string literals of a module; what an f-string fills in is left out."""
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("path", sorted({*python_files(ROOT / "tests"), *python_files(ROOT / "benchmarks")}), ids=shown)
def test_every_name_in_a_string_exists(path: Path) -> None:
    if path not in _PLANTED:
        found = {name for text in strings_of(path) for name in names_in(text)}
        assert [f"{module}: {name}" for module, name in sorted(found) if not exists(module, name)] == []


def test_names_are_seen_in_strings_and_missing_ones_too() -> None:
    text = (
        "import sys\nfrom pyro_mcp.errors import Busy, NoSuchError\n# pyro_mcp.errors:Busy.exit_code pyro_mcp.none:call"
    )

    assert [(name, exists(module, name)) for module, name in names_in(text)] == [
        ("Busy", True),
        ("NoSuchError", False),
        ("Busy.exit_code", True),
        ("call", False),
    ]
