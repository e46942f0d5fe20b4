"""The published names of `pyro_mcp.network` are enough for a backend for containers."""

from __future__ import annotations

import ast
from pathlib import Path

import pyro_mcp.network

BACKEND = Path(__file__).with_name("container_backend.py")


def imported_from_pyro(path: Path) -> dict[str, list[str]]:
    """Return the modules of `pyro_mcp` that a file imports from, each with the names."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name: [] for alias in node.names if alias.name.startswith("pyro_mcp")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyro_mcp"):
            found.setdefault(node.module or "", []).extend(alias.name for alias in node.names)
    return found


def test_a_backend_for_containers_uses_published_names_only() -> None:
    imported = imported_from_pyro(BACKEND)

    assert set(imported) == {"pyro_mcp.network"}
    assert set(imported["pyro_mcp.network"]) <= set(pyro_mcp.network.__all__)
