"""The certificates of the bottle's own authority, for the programs in a container or in a machine of smolvm.

A machine of the backend `pyro` writes the same files itself when it starts.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from claude_bottle.backend.interface import Steps
from pyro_mcp.host.files import temporary_folder
from pyro_mcp.network import GuestCA


def provision_ca(guest: Steps, ca: GuestCA) -> Mapping[str, str]:
    """Install the certificates in the guest; return the variables with which its programs find them.

    They are in the lists of its image (curl, git, Python), in a bundle that the variables name (OpenSSL, Go, Node,
    Deno, requests, pip), and in a store for Java.
    """
    files = ca.files()
    if files:
        guest.run(["mkdir", "-p", *sorted({posixpath.dirname(path) for path in files})])
    with temporary_folder() as scratch:
        for path, (mode, content) in files.items():
            copied = scratch / posixpath.basename(path)
            copied.write_bytes(content)
            copied.chmod(mode)
            guest.copy_in(str(copied), path)
            guest.run(["chmod", f"{mode:o}", path])
    for argv in ca.system_store_commands():
        guest.run(argv)
    return ca.environ()
