"""Work on the tree of a workspace, done on the host: read, written, patched, compared, copied in and out."""

from __future__ import annotations

from pyro_mcp.trees.diff import diff
from pyro_mcp.trees.export import MOST_BYTES, MOST_ENTRIES, export
from pyro_mcp.trees.files import list_files, read_file, write_file
from pyro_mcp.trees.guest_tree import GuestToolRunner, GuestTree
from pyro_mcp.trees.host_files import host_edits
from pyro_mcp.trees.patch import apply_patch
from pyro_mcp.trees.seed import Seed, prepare_seed, push
from pyro_mcp.trees.self_running import program_that_runs

__all__ = [
    "MOST_BYTES",
    "MOST_ENTRIES",
    "GuestToolRunner",
    "GuestTree",
    "Seed",
    "apply_patch",
    "diff",
    "export",
    "host_edits",
    "list_files",
    "prepare_seed",
    "program_that_runs",
    "push",
    "read_file",
    "write_file",
]
