"""A guest in memory: it keeps what provisioning does to it, and does the few commands that provisioning runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


class MemoryGuest:
    """A `Guest` whose files are a dictionary: path → content."""

    def __init__(self, home: str = "/root") -> None:
        self.home = home
        self.files: dict[str, bytes] = {}
        self.calls: list[tuple[str, ...]] = []

    def copy_in(self, source: str, target: str) -> None:
        self.calls.append(("copy_in", source, target))
        if os.path.isdir(source):
            for path in sorted(Path(source).rglob("*")):
                if path.is_file():
                    self.files[f"{target}/{path.relative_to(source)}"] = path.read_bytes()
        else:
            self.files[target] = Path(source).read_bytes()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> bytes:
        self.calls.append(("run", *argv))
        if argv[0] == "rm":
            below = f"{argv[-1]}/"
            self.files = {path: text for path, text in self.files.items() if not f"{path}/".startswith(below)}
        return b""
