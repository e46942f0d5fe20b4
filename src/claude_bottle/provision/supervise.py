"""The settings of the agent's program: answers to what it asks at its first start, and hooks that report its state."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from claude_bottle.backend.interface import Steps
from pyro_mcp.host.files import temporary_folder


def provision_supervise(guest: Steps, files: Mapping[str, str], links: Mapping[str, str] | None = None) -> None:
    """Write the `files` of a harness into the guest, and make its symbolic `links`, in place of older ones."""
    links = links or {}
    folders = sorted({posixpath.dirname(path) for path in (*files, *links)})
    if folders:
        guest.run(["mkdir", "-p", *folders])
    with temporary_folder() as scratch:
        for path, text in files.items():
            copied = scratch / posixpath.basename(path)
            copied.write_bytes(text.encode())
            guest.copy_in(str(copied), path)
    for path, target in links.items():
        guest.run(["ln", "-sfn", target, path])
