"""Work on the file tree of a workspace: list, read and write files, diff, patch, export, and copy in from the host."""

from __future__ import annotations

from pyro_mcp.trees.diff import diff
from pyro_mcp.trees.export import MAX_EXPORT_BYTES, MAX_EXPORT_ENTRIES, export
from pyro_mcp.trees.files import list_files, read_file, write_file
from pyro_mcp.trees.guest_tree import GuestToolRunner, GuestTree
from pyro_mcp.trees.host_files import host_edits
from pyro_mcp.trees.patch import apply_patch
from pyro_mcp.trees.seed import Seed, prepare_seed, push, push_seed
from pyro_mcp.trees.self_running import program_that_runs

__all__ = [
    "MAX_EXPORT_BYTES",
    "MAX_EXPORT_ENTRIES",
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
    "push_seed",
    "read_file",
    "write_file",
]
