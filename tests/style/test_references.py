"""Generated documents are up to date, quoted code is what runs, and the proofs that SPEC.md names exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.style.project import ROOT

SPEC = (ROOT / "SPEC.md").read_text()
PROOFS = re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)(?:::(\w+))?`", SPEC)


def functions_of(path: Path) -> set[str]:
    """Return the names of the functions that a Python file defines, at any depth."""
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("script", "document"),
    [
        ("cli_reference.py", "docs/cli.md"),
        ("cli_reference.py claude-bottle", "docs/claude-bottle.md"),
        ("cli_reference.py moot", "docs/moot.md"),
        ("man_page.py", "docs/pyro.1"),
        ("man_page.py claude-bottle", "docs/claude-bottle.1"),
        ("mcp_reference.py", "docs/mcp-tools.md"),
    ],
)
def test_a_generated_reference_is_what_the_program_says(script: str, document: str) -> None:
    words = [sys.executable, *f"{ROOT / 'scripts'}/{script}".split()]
    made = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout

    assert (ROOT / document).read_text() == made, f"run: .venv/bin/python scripts/{script} > {document}"


def test_the_readme_shows_the_example_as_it_is() -> None:
    example = (ROOT / "examples/one_command.py").read_text()
    body = example[example.index("from pyro_mcp import") :]

    assert f"```python\n{body}```" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(("file", "function"), PROOFS)
def test_what_the_specification_names_as_proof_exists(file: str, function: str) -> None:
    path = ROOT / file

    assert path.is_file()
    assert not function or function in functions_of(path)


def test_every_promise_of_the_specification_names_its_proof() -> None:
    promises = [line for line in SPEC.splitlines() if line.startswith("| ") and not line.startswith("| Promise")]

    assert promises
    assert [line for line in promises if not re.search(r"`(tests|benchmarks)/[\w/]+\.py", line)] == []
