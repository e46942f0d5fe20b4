"""Work on the tree of a workspace, done on the host: read, written, patched, compared, copied in and out."""

from __future__ import annotations

from pyro_mcp.trees.diff import diff
from pyro_mcp.trees.export import MOST_BYTES, MOST_ENTRIES, export
from pyro_mcp.trees.files import list_files, read_file, write_file
from pyro_mcp.trees.patch import apply_patch
from pyro_mcp.trees.seed import Seed, file_pieces, prepare_seed, push
from pyro_mcp.trees.self_running import tool_that_runs
from pyro_mcp.trees.tree import ToolRunner, Tree

__all__ = [
    "MOST_BYTES",
    "MOST_ENTRIES",
    "Seed",
    "ToolRunner",
    "Tree",
    "apply_patch",
    "diff",
    "export",
    "file_pieces",
    "list_files",
    "prepare_seed",
    "push",
    "read_file",
    "tool_that_runs",
    "write_file",
]
