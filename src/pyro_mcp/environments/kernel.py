"""The guest kernel: Debian's cloud kernel, downloaded and unpacked, never installed or run on the host."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.environments.debian import mmdebstrap
from pyro_mcp.environments.kernel_modules import load_order
from pyro_mcp.environments.versioned_cache import CachedVersion, VersionedCache
from pyro_mcp.errors import EnvironmentFailed
from pyro_mcp.host.progress import Progress

# Change it whenever the modules or the script below change.
_RECIPE = "6.1-1"
# The modules that guests may need; the modules they depend on are added.
_MODULES = (
    "virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtio_rng", "virtio_balloon",
    "overlay", "erofs", "squashfs", "loop", "fuse", "tun", "nf_tables",
)  # fmt: skip
# The metapackage names the package that holds the kernel. apt verifies the download; dpkg-deb -x runs no maintainer
# scripts.
_FETCH = """
set -e
cd "$1"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get --quiet download "$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p')"
dpkg-deb -x linux-image-*.deb kernel
"""


@dataclass(frozen=True)
class GuestKernel:
    """A kernel for guests: the bootable image, its `lib/modules/VERSION` folder, and the digest over both."""

    version: str
    vmlinuz: Path
    modules: Path
    digest: str


def current_kernel(kernels: VersionedCache) -> GuestKernel | None:
    """Return the kernel of the current recipe, or None when it is not installed."""
    found = kernels.find(_RECIPE)
    return _as_kernel(found) if found else None


def fetch_kernel(kernels: VersionedCache, progress: Progress) -> GuestKernel:
    """Return the kernel, fetched if it is not installed. Raises `EnvironmentFailed`, `NoSpace`, `Busy`."""
    present = current_kernel(kernels)
    if present:
        return present
    with kernels.exclusive("the guest kernel", progress) as work:
        present = current_kernel(kernels)
        if present:
            return present
        for path in kernels.damaged_files(_RECIPE):
            progress(f"{path} was changed after it was made; fetching the guest kernel again", None)
        progress("fetching the guest kernel", 0.0)
        mmdebstrap(["--variant=custom", f"--customize-hook={_FETCH}"], work / "root", progress)
        folder = work / "kernel"
        version = _select(work / "root/kernel", folder)
        metadata = {"version": version, "digest": _digest(folder)}
        kernel = _as_kernel(kernels.publish(_RECIPE, folder, metadata))
        progress("the guest kernel is ready", 1.0)
        return kernel


def _as_kernel(found: CachedVersion) -> GuestKernel:
    version = str(found.metadata["version"])
    return GuestKernel(
        version, found.folder / "vmlinuz", found.folder / "modules" / version, str(found.metadata["digest"])
    )


def _select(unpacked: Path, folder: Path) -> str:
    """Copy the kernel and the needed modules of an unpacked package into `folder`; return the kernel's version."""
    images = list(unpacked.glob("boot/vmlinuz-*"))
    if len(images) != 1:
        raise EnvironmentFailed(f"Debian's kernel package holds {len(images)} kernels instead of one")
    version = images[0].name.removeprefix("vmlinuz-")
    source = unpacked / "lib/modules" / version
    target = folder / "modules" / version
    target.mkdir(parents=True)
    shutil.copy2(images[0], folder / "vmlinuz")
    shutil.copy2(source / "modules.builtin", target)
    for module in load_order(source, _MODULES):
        copy = target / module.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(module, copy)
    return version


def _digest(folder: Path) -> str:
    """Return one digest over the names and contents of all files below `folder`."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content}  {path.relative_to(folder)}\n".encode())
    return f"sha256:{total.hexdigest()}"
