"""The distributions that the code imports are the ones that pyproject.toml declares."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.style.imports import OURS
from tests.style.project import ROOT, python_files

# Each hook of a team is a script of its own, and imports the modules beside it.
HOOKS = ROOT / "src/moot/templates/claude/hooks"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def imported_packages(source: Path) -> set[str]:
    """Return the top-level packages that the modules below `source` import from other distributions."""
    found: set[str] = set()
    beside = {path.stem for path in HOOKS.glob("*.py")}
    for path in python_files(source):
        for node in ast.walk(ast.parse(path.read_text(), path)):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    return found - sys.stdlib_module_names - set(OURS) - beside


def distributions_of(packages: set[str]) -> set[str]:
    """Return the names of the installed distributions that provide `packages`, as pyproject.toml spells them."""
    providers = packages_distributions()
    return {re.sub(r"[-_.]+", "-", name).lower() for package in packages for name in providers.get(package, [package])}


def declared_distributions(groups: list[list[str]]) -> set[str]:
    """Return the names of the requirements in `groups`, without versions."""
    return {re.split(r"[^A-Za-z0-9-]", requirement)[0] for group in groups for requirement in group}


def test_each_imported_distribution_is_declared_and_each_declared_one_is_imported() -> None:
    project = PYPROJECT["project"]
    declared = declared_distributions([project["dependencies"], *project["optional-dependencies"].values()])

    imported = distributions_of(imported_packages(ROOT / "src"))
    assert imported - declared == set(), "add these to dependencies in pyproject.toml, or do without their import"
    assert declared - imported == set(), "nothing in src imports these: remove them from pyproject.toml"


def test_pyro_mcp_itself_imports_nothing_that_only_an_extra_installs() -> None:
    imported = distributions_of(imported_packages(ROOT / "src/pyro_mcp"))

    of_extras = imported - declared_distributions([PYPROJECT["project"]["dependencies"]])
    assert of_extras == set(), "move these from the extras to dependencies, or their imports out of pyro_mcp"


def test_imports_are_seen_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text("import os\nimport uvicorn.config\ndef late():\n    from mcp_types import Tool\nimport pyro_mcp\n")

    assert distributions_of(imported_packages(tmp_path)) == {"uvicorn", "mcp-types"}


def test_a_requirement_is_read_without_its_version() -> None:
    assert declared_distributions([["mcp-types>=2.3,<3", "h11"]]) == {"mcp-types", "h11"}
