"""Work on the file tree of a workspace: list, read and write files, diff, patch, export, and copy in from the host.

The tree is that of a machine, or any folder that a backend can start a program on, such as a container's volume. The
program is the guest tool, `tool_binary()`: one static file without dependencies. Its answers are hostile input, and
are checked here. A backend runs it through a `GuestToolRunner` of its own:

    tree = GuestTree(run_tool, merged="/tree", baseline="/baseline", upper=None)
    push_seed(tree, prepare_seed(Path("project"), work))  # before the agent starts; then copy /tree to /baseline
    print(diff(tree)["patch"])
    export(tree, "src", Path("copy"), state=folder, overwrite=False)
"""

from __future__ import annotations

from pyro_mcp.engine import tool_binary
from pyro_mcp.trees.diff import diff
from pyro_mcp.trees.export import MAX_EXPORT_BYTES, MAX_EXPORT_ENTRIES, export
from pyro_mcp.trees.files import list_files, read_file, write_file
from pyro_mcp.trees.git_folders import git_config_text, git_settings
from pyro_mcp.trees.guest_tree import GuestToolRunner, GuestTree
from pyro_mcp.trees.host_files import host_edits
from pyro_mcp.trees.patch import apply_patch
from pyro_mcp.trees.seed import Seed, prepare_seed, push, push_seed
from pyro_mcp.trees.self_running import program_that_runs
from pyro_mcp.trees.tool_error import tool_error

__all__ = [
    "MAX_EXPORT_BYTES",
    "MAX_EXPORT_ENTRIES",
    "GuestToolRunner",
    "GuestTree",
    "Seed",
    "apply_patch",
    "diff",
    "export",
    "git_config_text",
    "git_settings",
    "host_edits",
    "list_files",
    "prepare_seed",
    "program_that_runs",
    "push",
    "push_seed",
    "read_file",
    "tool_binary",
    "tool_error",
    "write_file",
]
