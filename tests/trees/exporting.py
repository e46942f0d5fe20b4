"""Exports as tests make them: the notes of unfinished ones are kept beside the output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyro_mcp import trees
from pyro_mcp.results import Export


def export(tree: trees.GuestTree, path: str, output: Path, *, overwrite: bool, **bounds: Any) -> Export:
    """Call `pyro_mcp.trees.export`."""
    return trees.export(tree, path, output, state=output.parent, overwrite=overwrite, **bounds)
