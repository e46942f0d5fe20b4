"""The root files of an environment as a tar file, read from its image without root and without a machine."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from pyro_mcp.environments import export_root, new_file
from pyro_mcp.environments.erofs_image import write_image
from pyro_mcp.errors import Conflict, EnvironmentFailed
from pyro_mcp.host.progress import silent

# Version 2 of struct vfs_cap_data (linux/capability.h) with CAP_NET_RAW, which ping has.
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
BIG = bytes(range(256)) * 9_000 + b"the end"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image with a file of each kind that an environment may have."""
    root = tmp_path / "root"
    (root / "many").mkdir(parents=True)
    (root / "big").write_bytes(BIG)
    (root / "empty").touch()
    (root / "block").write_bytes(b"x" * 4096)
    (root / "small").write_bytes(b"small")
    (root / "small").chmod(0o4711)
    os.link(root / "small", root / "same")
    (root / "link").symlink_to("/nowhere/" + "x" * 200)
    (root / os.fsdecode(b"\xff\xc3\xa9")).write_text("a name that is no UTF-8")
    os.mkfifo(root / "pipe", 0o600)
    for number in range(1000):
        (root / f"many/{number:04}-{'n' * 40}").write_text(str(number))
    os.utime(root / "small", ns=(0, 1_700_000_000_123_456_789))
    (root / "closed").mkdir(0o700)
    if os.geteuid() == 0:
        os.setxattr(root / "small", "security.capability", CAPABILITY)
        os.setxattr(root / "block", "security.capability", CAPABILITY)
        os.setxattr(root / "block", "user.other", b"value")
        os.chown(root / "closed", 70_000, 70_001)
        os.chown(root / "big", 1000, 1000)
    write_image(root, tmp_path / "image")
    return tmp_path / "image"


def exported(image: Path) -> tarfile.TarFile:
    file = io.BytesIO()
    done = export_root(image, file, silent)
    assert done.digest == f"sha256:{hashlib.sha256(file.getvalue()).hexdigest()}"
    assert done.left_out == []
    file.seek(0)
    return tarfile.open(fileobj=file)


def test_every_file_is_in_the_tar_as_it_is_in_the_image(image: Path, tmp_path: Path) -> None:
    with exported(image) as tar:
        members = {member.name: member for member in tar}
        contents = {name: tar.extractfile(one) for name, one in members.items() if one.isreg()}
        read = {name: file.read() for name, file in contents.items() if file is not None}
    root = tmp_path / "root"
    assert {f"./{path.relative_to(root)}".removeprefix("./") for path in root.rglob("*")} | {"."} == set(members)
    assert read["big"] == BIG
    assert (read["empty"], read["block"]) == (b"", b"x" * 4096)
    assert all(read[path.relative_to(root).as_posix()] == path.read_bytes() for path in (root / "many").iterdir())
    linked = [members["small"], members["same"]]
    assert sorted(one.type for one in linked) == [tarfile.REGTYPE, tarfile.LNKTYPE]
    first = next(one for one in linked if one.isreg())
    assert (first.mode, first.size, float(first.pax_headers["mtime"])) == (0o4711, 5, 1_700_000_000.123456789)
    assert members["link"].linkname == "/nowhere/" + "x" * 200
    assert (members["pipe"].type, members["pipe"].mode) == (tarfile.FIFOTYPE, 0o600)
    assert (members["tmp"].mode, members["closed"].mode) == (0o1777, 0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")
def test_owners_and_capabilities_are_in_the_tar(image: Path) -> None:
    with exported(image) as tar:
        members = {member.name: member for member in tar}
    assert (members["closed"].uid, members["closed"].gid) == (70_000, 70_001)
    assert (members["big"].uid, members["big"].gid) == (1000, 1000)
    with_capability = [one for one in members.values() if "SCHILY.xattr.security.capability" in one.pax_headers]
    assert sorted(one.name for one in with_capability) == ["block", "same", "small"]
    value = with_capability[0].pax_headers["SCHILY.xattr.security.capability"]
    assert value.encode("utf-8", "surrogateescape") == CAPABILITY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")
def test_tar_restores_the_files_from_it(image: Path, tmp_path: Path) -> None:
    with new_file(tmp_path / "files.tar", tmp_path) as file:
        export_root(image, file, silent)
    copy = tmp_path / "copy"
    copy.mkdir()
    unpack = ["tar", "--extract", "--xattrs", "--xattrs-include=*", f"--file={tmp_path / 'files.tar'}"]
    subprocess.run(unpack, check=True, cwd=copy, timeout=60)
    assert os.getxattr(copy / "small", "security.capability") == CAPABILITY
    assert (copy / "small").stat().st_ino == (copy / "same").stat().st_ino
    listing = ["find", ".", "-printf", "%p %y %m %U:%G %s %l\\n"]
    files = [
        sorted(subprocess.run(listing, cwd=folder, check=True, capture_output=True, timeout=60).stdout.splitlines())
        for folder in (copy, tmp_path / "root")
    ]
    without_folder_sizes = [[line for line in each if b" d " not in line] for each in files]
    assert without_folder_sizes[0] == without_folder_sizes[1]


@pytest.mark.parametrize("keep", [0, 1000, 1100, 8192, -5000])
def test_a_damaged_image_is_an_error(image: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "damaged").write_bytes(image.read_bytes()[:keep])
    with pytest.raises(EnvironmentFailed, match=r"damaged|not EROFS"):
        export_root(tmp_path / "damaged", io.BytesIO(), silent)


def test_a_file_that_exists_is_kept_and_a_failure_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(Conflict, match="exists already"), new_file(tmp_path / "taken", tmp_path):
        pass
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "other", tmp_path) as file:
        file.write(bytes(1 // 0))
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {"taken": "mine"}
