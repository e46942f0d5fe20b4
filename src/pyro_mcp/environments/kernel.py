"""The guest kernel: Debian's cloud kernel, fetched and unpacked, never installed and never run on the host."""

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

# Changes whenever the choice below does.
_RECIPE = "6.1-1"
# What a guest may want; everything these depend on comes along.
_MODULES = (
    "virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtio_rng", "virtio_balloon",
    "overlay", "erofs", "squashfs", "loop", "fuse", "tun", "nf_tables",
)  # fmt: skip
# The metapackage only names the package that holds the kernel. apt verifies the download; dpkg-deb -x runs
# nothing of what it unpacks.
_FETCH = """
set -e
cd "$1"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get --quiet download "$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p')"
dpkg-deb -x linux-image-*.deb kernel
"""


@dataclass(frozen=True)
class GuestKernel:
    """A kernel for guests: the bootable image, its `lib/modules/VERSION` folder, and the digest of both."""

    version: str
    vmlinuz: Path
    modules: Path
    digest: str


def current_kernel(shelf: VersionedCache) -> GuestKernel | None:
    """The kernel of the current recipe, when it is there."""
    made = shelf.version(_RECIPE)
    return _as_kernel(made) if made else None


def fetch_kernel(shelf: VersionedCache, progress: Progress) -> GuestKernel:
    """The kernel, fetched if need be. Raises `EnvironmentFailed`, `NoSpace`, `Busy`."""
    present = current_kernel(shelf)
    if present:
        return present
    with shelf.exclusive("the guest kernel", progress) as work:
        present = current_kernel(shelf)
        if present:
            return present
        for path in shelf.damage(_RECIPE):
            progress(f"{path} was changed after it was made; fetching the guest kernel again", None)
        progress("fetching the guest kernel", 0.0)
        mmdebstrap(["--variant=custom", f"--customize-hook={_FETCH}"], work / "root", progress)
        folder = work / "kernel"
        version = _select(work / "root/kernel", folder)
        facts = {"version": version, "digest": _digest(folder)}
        kernel = _as_kernel(shelf.publish(_RECIPE, folder, facts))
        progress("the guest kernel is ready", 1.0)
        return kernel


def _as_kernel(made: CachedVersion) -> GuestKernel:
    version = str(made.facts["version"])
    return GuestKernel(version, made.place / "vmlinuz", made.place / "modules" / version, str(made.facts["digest"]))


def _select(unpacked: Path, folder: Path) -> str:
    """Copy what we need of an unpacked kernel package into `folder`; returns the kernel's version."""
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
    """One digest over the names and contents of all files below `folder`."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content}  {path.relative_to(folder)}\n".encode())
    return f"sha256:{total.hexdigest()}"
