"""Programs of coding agents on this host: those that are installed, or a copy of the cache."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from pyro_mcp.environments import CLAUDE_CODE, install_package
from pyro_mcp.host.files import atomic_folder, cache_home


def claude_code() -> Path:
    """Return the program Claude Code: that of PATH, else one that is downloaded once from npm's registry.

    The download has the version and the hash of the environment `debian:12-agent`. Raises `EnvironmentFailed`.
    """
    if found := shutil.which("claude"):
        return Path(found)
    folder = cache_home() / "programs" / f"claude-{CLAUDE_CODE.version}"
    if not folder.is_dir():
        with atomic_folder(folder) as made:
            install_package(replace(CLAUDE_CODE, files={"claude": "claude"}), made, made)
    return folder / "claude"
