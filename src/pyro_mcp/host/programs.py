"""The host programs that we start, and the Debian package that contains each."""

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
    "nsenter": "util-linux",
    "prlimit": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-storage-daemon": "qemu-system-common",
    "qemu-system-x86_64": "qemu-system-x86",
    "skopeo": "skopeo",
    "timeout": "coreutils",
    "umoci": "umoci",
    "unshare": "util-linux",
}

# Ordinary users of Debian have no sbin in PATH, but mke2fs lives there.
SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"


def find_program(name: str) -> Path | None:
    """Return the absolute path of a host program, None when it is not installed."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + SYSTEM_DIRECTORIES
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def require_program(name: str) -> Path:
    """Return the absolute path of a host program; raise `HostToolMissing` with the install command as its hint."""
    found = find_program(name)
    if found is None:
        package = PACKAGE_OF.get(name, name)
        raise HostToolMissing(
            f"the program {name} is not installed",
            hint=f"install it with: sudo apt-get install --no-install-recommends {package}",
        )
    return found
