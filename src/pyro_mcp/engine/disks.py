"""The disks of a machine.

vda  the environment's root file system, one read-only image for every machine
vdb  everything that a machine writes: qcow2 layers on a shared blank ext4 image; only the top layer is written
vdc  the baseline of /workspace, an EROFS image that is never written
vdd  empty; in a machine that exports a disk, the file to write

The sizes are fixed, because they are part of the state that a template has saved.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import GuestFailed
from pyro_mcp.host.exchange import exchange
from pyro_mcp.host.files import atomic_folder, locked, no_space, private_directory
from pyro_mcp.host.process import run
from pyro_mcp.host.seals import intact, seal
from pyro_mcp.host.user_ids import UserIds, machine_ids

DISK_BYTES = 16 * 1024**3
"""The capacity of each writable disk."""
MOST_LAYERS = 32
"""The most frozen layers of a disk; at this number a snapshot waits for a merge."""
BASELINE_BYTES = 64 * 1024**3
"""The size of vdc; the file is sparse."""
_VERSION = "2"
# Fixed, so that the same tools always build the same image, which all machines share.
_UUID = "7079726f-0000-4000-8000-626c616e6b21"


@dataclass(frozen=True)
class BlankDisks:
    """Shared read-only images: an empty ext4, an empty qcow2 to copy for vdb, an empty baseline."""

    ext4: Path
    qcow2: Path
    baseline: Path


def blank_disks(cache: Path) -> BlankDisks:
    """Return the blank images; the first call makes them (about 1 s). Raises `NoSpace`, `HostToolMissing`."""
    target = cache / "disks" / _VERSION
    disks = BlankDisks(target / "blank.ext4", target / "blank.qcow2", target / "blank.erofs")
    if not _are_intact(disks):
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.parent / f"{_VERSION}.lock", deadline_seconds=120):
            if not _are_intact(disks):
                with atomic_folder(target) as scratch:
                    _make(scratch)
                    seal(scratch)
    return disks


def _are_intact(disks: BlankDisks) -> bool:
    """Return whether the images are undamaged; those without a seal are checked by their sizes."""
    sizes = {disks.ext4: DISK_BYTES, disks.baseline: BASELINE_BYTES}

    def have_right_sizes() -> bool:
        paths = (*sizes, disks.qcow2)
        if not all(path.exists() for path in paths):
            return False
        return all(path.stat().st_size == size for path, size in sizes.items()) and disks.qcow2.stat().st_size >= 65536

    return intact(disks.ext4.parent, have_right_sizes)


def _make(folder: Path) -> None:
    make_ext4(folder / "blank.ext4")
    qcow2 = folder / "blank.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", qcow2, str(DISK_BYTES)], deadline_seconds=60)
    with tempfile.TemporaryDirectory() as empty:
        make_baseline(Path(empty), folder / "blank.erofs")
    for path in folder.iterdir():
        path.chmod(0o444)


def make_ext4(image: Path) -> None:
    """Make an empty ext4 file system of `DISK_BYTES` in the sparse file `image`."""
    _sparse(image, DISK_BYTES)
    # Initialise everything now: otherwise each guest would write inode tables in the background.
    features = f"lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,hash_seed={_UUID}"
    make = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-J", "size=32", "-U", _UUID, "-E", features]
    # A fixed date: layers on a blank image need exactly the same image when it is made again.
    run([*make, image], deadline_seconds=120, extra_environment={"E2FSPROGS_FAKE_TIME": "1700000000"})


def make_baseline(tree: Path, image: Path, left_out: Iterable[bytes] = (), *, owner: int = 0) -> None:
    """Make an EROFS image of the folder `tree` without the paths `left_out`.

    All files in it belong to the user and group `owner`.
    """
    without = [f"--exclude-path={os.fsdecode(path)}" for path in left_out]
    owners = [f"--force-uid={owner}", f"--force-gid={owner}"]
    run(["mkfs.erofs", "--quiet", *owners, f"-U{_UUID}", *without, image, tree.absolute()], deadline_seconds=600)
    _sparse(image, BASELINE_BYTES)
    image.chmod(0o444)


def give_to_machine(ids: UserIds | None, *paths: Path) -> None:
    """Make the machine's own user the owner of files; do nothing when `ids` is None."""
    if ids is not None:
        for path in paths:
            os.chown(path, ids.machine, ids.machine)


def make_read_only(path: Path) -> None:
    """Make a file ours, readable for everybody and writable for nobody."""
    os.chown(path, os.geteuid(), os.getegid())
    path.chmod(0o444)


class DiskLayers:
    """The qcow2 layers of one machine's disk in `home`: the written one in `live`, the others in `frozen`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.live = home / "live"
        self.frozen = home / "frozen"

    def prepare(self, names: Sequence[str], blank: BlankDisks, *, new_disk: bool = True) -> None:
        """Move the layers `names`, lowest first, to the folders in which a start expects them.

        With `new_disk` the last one is made empty if it is missing. Raises `GuestFailed` when any other is missing.
        Without names only the folders are made.
        """
        self._make_folders()
        if not names:
            return
        *lower, top = names
        for name in lower:
            if (self.live / name).exists():
                self._freeze(name)
            if not (self.frozen / name).exists():
                raise _missing(self.frozen / name)
        if (self.live / top).exists():
            # A fork or inspector may have made it read-only while it used it as a frozen layer.
            (self.live / top).chmod(0o600)
            give_to_machine(machine_ids(self._home), self.live / top)
        elif new_disk:
            self.add(top, blank)
        else:
            raise _missing(self.live / top)

    def add(self, name: str, blank: BlankDisks) -> None:
        """Make an empty layer, not yet in use. Raises `NoSpace`, and then leaves no file."""
        self._make_folders()
        target = self.live / name
        try:
            shutil.copyfile(blank.qcow2, target)
        except OSError as error:
            target.unlink(missing_ok=True)
            raise no_space(error, target) from error
        target.chmod(0o600)
        give_to_machine(machine_ids(self._home), target)

    def adopt(self, other: DiskLayers, names: Sequence[str]) -> None:
        """Hard-link layers of another machine into this one's frozen ones. Raises `GuestFailed` when one is missing."""
        private_directory(self._home)
        self._make_folders()
        for name in names:
            if not other._path(name).exists():
                raise _missing((other.live if name == names[-1] else other.frozen) / name)
            os.link(other._path(name), self.frozen / name)
            make_read_only(self.frozen / name)

    def take_folders(self, other: DiskLayers) -> None:
        """Take the empty folders of `other`, which a running machine sees, in the place of these; all layers stay.

        Whenever this process dies, `home` holds every layer. Raises `OSError`, where folders cannot be exchanged.
        """
        self._make_folders()
        for mine, its in ((self.live, other.live), (self.frozen, other.frozen)):
            layers = list(mine.iterdir())
            if not layers:
                its.rename(mine)
                continue
            for layer in layers:
                os.link(layer, its / layer.name)
            exchange(mine, its)

    def is_empty(self, name: str, blank: BlankDisks) -> bool:
        """Return whether nothing was ever written to a layer."""
        path = self.live / name
        return path.exists() and filecmp.cmp(path, blank.qcow2, shallow=False)

    def sizes(self, names: Iterable[str]) -> list[int]:
        """Return how many bytes each layer occupies on the disk."""
        return [512 * self._path(name).stat().st_blocks for name in names]

    def has_space(self, wanted: int) -> bool:
        """Return whether the layers' disk has twice `wanted` bytes free: the guest must be able to write too."""
        return shutil.disk_usage(self._home).free >= 2 * wanted

    def keep_only(self, names: Collection[str]) -> None:
        """Remove every layer whose name is not in `names`."""
        for folder in (self.live, self.frozen):
            for path in folder.iterdir() if folder.exists() else ():
                if path.name not in names:
                    path.unlink()

    def _path(self, name: str) -> Path:
        frozen = self.frozen / name
        return frozen if frozen.exists() else self.live / name

    def _make_folders(self) -> None:
        for folder in (self.live, self.frozen):
            # The folders above are private. Inside the cage, the machine's own user must be able to pass through these.
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)

    def _freeze(self, name: str) -> None:
        (self.live / name).rename(self.frozen / name)
        make_read_only(self.frozen / name)


def _missing(layer: Path) -> GuestFailed:
    return GuestFailed(
        f"a layer of the machine's disk is missing: {layer}",
        hint="nothing was changed; put the file back, or reset the workspace to a snapshot that does without it",
    )


def _sparse(path: Path, size: int) -> None:
    with open(path, "ab") as file:
        file.truncate(size)
