"""The machine's three disks, of which only the second is ever written.

vda  the environment's root file system, one read-only image for every machine
vdb  all that a machine writes: a qcow2 file on a shared blank ext4 image
vdc  the baseline of /workspace, an EROFS image that is never written

Sizes are fixed, because the warm template has seen them.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.host.files import locked, published
from pyro_mcp.host.process import run

WRITABLE_BYTES = 16 * 1024**3
"""Capacity of vdb: what a machine can write in all."""
BASELINE_BYTES = 64 * 1024**3
"""Apparent size of vdc; the file is sparse."""
_VERSION = "1"
# Fixed, so that the same tools build the same image: it has no secrets and is shared by all.
_UUID = "7079726f-0000-4000-8000-626c616e6b21"


@dataclass(frozen=True)
class BlankDisks:
    """Shared read-only images: an empty ext4, an empty qcow2 to copy for vdb, an empty baseline."""

    ext4: Path
    qcow2: Path
    baseline: Path


def blank_disks(cache: Path) -> BlankDisks:
    """The blank images, made once (about 1 s)."""
    target = cache / "disks" / _VERSION
    disks = BlankDisks(target / "blank.ext4", target / "blank.qcow2", target / "blank.erofs")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.parent / f"{_VERSION}.lock", deadline_seconds=120):
            if not target.exists():
                with published(target) as scratch:
                    _make(scratch)
    return disks


def _make(folder: Path) -> None:
    ext4 = folder / "blank.ext4"
    _sparse(ext4, WRITABLE_BYTES)
    # Everything initialised now: otherwise each guest would write its own inode tables in the background.
    features = "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-U", _UUID, "-E", features, ext4], deadline_seconds=120)
    qcow2 = folder / "blank.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", qcow2, str(WRITABLE_BYTES)], deadline_seconds=60)
    with tempfile.TemporaryDirectory() as empty:
        make_baseline(Path(empty), folder / "blank.erofs")
    for path in folder.iterdir():
        path.chmod(0o444)


def make_baseline(tree: Path, image: Path) -> None:
    """Write the tree at `tree` as an EROFS image whose files all belong to root."""
    run(["mkfs.erofs", "--quiet", "--all-root", f"-U{_UUID}", image, tree], deadline_seconds=600)
    _sparse(image, BASELINE_BYTES)


def new_writable(blank: BlankDisks, target: Path) -> None:
    """A fresh vdb at `target`."""
    shutil.copyfile(blank.qcow2, target)
    target.chmod(0o600)


def _sparse(path: Path, size: int) -> None:
    with open(path, "ab") as file:
        file.truncate(size)
