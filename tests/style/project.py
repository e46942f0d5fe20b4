"""The project's own files, as the style tests see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_MADE_BY_TOOLS = {".git", ".hypothesis", ".venv", "build", "dist", "__pycache__"}


def files(root: Path = ROOT) -> Iterator[Path]:
    """Yield every file below `root` that people write; what tools make is left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - _MADE_BY_TOOLS - {name for name in folders if name.endswith("_cache")})
        # In a git worktree `.git` is a file.
        yield from (Path(folder, name) for name in sorted(set(names) - _MADE_BY_TOOLS))


def python_files(root: Path = ROOT) -> list[Path]:
    """Return every Python module below `root`."""
    return [path for path in files(root) if path.suffix == ".py"]


def text_of(path: Path) -> str:
    """Return the text of a file, or "" when it is not text."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def shown(path: Path) -> str:
    """Return the path as a failure message names it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
