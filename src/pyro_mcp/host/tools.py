"""The host programs we use, and the Debian package that brings each."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pyro_mcp.errors import HostToolMissing

PACKAGE_OF = {
    "bwrap": "bubblewrap",
    "git": "git",
    "mke2fs": "e2fsprogs",
    "mkfs.erofs": "erofs-utils",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "nft": "nftables",
    "prlimit": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "skopeo": "skopeo",
    "timeout": "coreutils",
    "umoci": "umoci",
    "unshare": "util-linux",
}

# Ordinary users of Debian have no sbin in PATH, but mke2fs lives there.
_SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"


def find_tool(name: str) -> Path | None:
    """The absolute path of a host program, or None when it is not installed."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + _SYSTEM_DIRECTORIES
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def require_tool(name: str) -> Path:
    """The absolute path of a host program; raises `HostToolMissing` with the install command."""
    found = find_tool(name)
    if found is None:
        package = PACKAGE_OF.get(name, name)
        raise HostToolMissing(
            f"the program {name} is not installed",
            hint=f"install it with: sudo apt-get install --no-install-recommends {package}",
        )
    return found
