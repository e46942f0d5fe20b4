"""The disks of machines: checked by the tools that own the formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_mcp.engine.disks import BASELINE_BYTES, DISK_BYTES, BlankDisks, DiskLayers, blank_disks, make_baseline
from pyro_mcp.errors import GuestFailed
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.user_ids import machine_ids

DEADLINE = 60.0


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> BlankDisks:
    return blank_disks(tmp_path_factory.mktemp("cache"))


def output(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, timeout=DEADLINE, stdout=subprocess.PIPE, text=True).stdout


def qcow2_facts(path: Path) -> dict[str, object]:
    facts: dict[str, object] = json.loads(output("qemu-img", "info", "--output=json", path))
    return facts


def test_the_blank_file_system_is_without_fault(blank: BlankDisks) -> None:
    output(require_program("e2fsck"), "-fn", blank.ext4)


def test_the_blank_disks_have_the_sizes_that_templates_know(blank: BlankDisks) -> None:
    assert blank.ext4.stat().st_size == DISK_BYTES
    assert qcow2_facts(blank.qcow2)["virtual-size"] == DISK_BYTES
    assert blank.baseline.stat().st_size == BASELINE_BYTES


def test_the_blank_disks_take_little_room(blank: BlankDisks) -> None:
    assert sum(path.stat().st_blocks * 512 for path in (blank.ext4, blank.qcow2, blank.baseline)) < 64 * 1024 * 1024


def test_nobody_can_write_the_blank_disks(blank: BlankDisks) -> None:
    assert {path.stat().st_mode & 0o777 for path in (blank.ext4, blank.qcow2, blank.baseline)} == {0o444}


@pytest.mark.parametrize("name", ["ext4", "qcow2", "baseline"])
def test_a_flipped_blank_disk_is_made_again_as_it_was(tmp_path: Path, name: str) -> None:
    path: Path = getattr(blank_disks(tmp_path), name)
    path.chmod(0o644)
    before = path.stat()
    with open(path, "r+b") as file:
        good = file.read(2048)
        file.seek(1030)
        file.write(b"flipped")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert getattr(blank_disks(tmp_path), name) == path
    with open(path, "rb") as file:
        again = file.read(2048)
    assert again == good or name == "baseline"  # which holds the date when it was made
    assert b"flipped" not in again


def test_no_blank_disk_refers_to_a_host_path(blank: BlankDisks) -> None:
    assert "backing-filename" not in qcow2_facts(blank.qcow2)


def test_two_processes_that_want_blank_disks_at_once_make_them_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pyro_mcp.engine.disks import blank_disks\n"
        "print(blank_disks(Path(sys.argv[1])).ext4.stat().st_ino)"
    )
    argv: list[str | Path] = [sys.executable, "-c", script, tmp_path]
    makers = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(2)]
    printed = {maker.communicate(timeout=DEADLINE)[0] for maker in makers}
    assert [maker.returncode for maker in makers] == [0, 0]
    assert len(printed) == 1
    assert blank_disks(tmp_path).ext4.stat().st_ino == int(printed.pop())
    assert [path.name for path in (tmp_path / "disks").iterdir() if path.name.startswith(".")] == []


def test_a_layer_is_a_private_copy_for_the_machine_to_write(blank: BlankDisks, tmp_path: Path) -> None:
    layers = DiskLayers(tmp_path)
    layers.prepare(["layer"], blank)
    layer, ids = layers.live / "layer", machine_ids(tmp_path)
    found = layer.stat()
    assert found.st_ino != blank.qcow2.stat().st_ino
    assert layer.read_bytes() == blank.qcow2.read_bytes()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_uid == (ids.machine if ids else os.getuid())


def test_a_frozen_layer_belongs_to_no_machine(blank: BlankDisks, tmp_path: Path) -> None:
    one, two = DiskLayers(tmp_path / "one"), DiskLayers(tmp_path / "two")
    (tmp_path / "one").mkdir()
    one.prepare(["shared"], blank)
    two.adopt(one, ["shared"])
    found = (two.frozen / "shared").stat()
    assert (found.st_uid, found.st_mode & 0o777) == (os.getuid(), 0o444)
    one.prepare(["shared", "top"], blank)
    assert (one.frozen / "shared").stat().st_uid == os.getuid()


def test_a_disk_of_another_user_is_given_to_its_machine_when_that_starts(blank: BlankDisks, tmp_path: Path) -> None:
    layers, ids = DiskLayers(tmp_path), machine_ids(tmp_path)
    if ids is None:
        pytest.skip("only root's machines have users of their own")
    layers.prepare(["top"], blank)
    os.chown(layers.live / "top", 65534, 65534)
    (layers.live / "top").chmod(0o444)
    layers.prepare(["top"], blank)
    found = (layers.live / "top").stat()
    assert (found.st_uid, found.st_mode & 0o777) == (ids.machine, 0o600)


def test_only_the_top_layer_is_where_it_can_be_written(blank: BlankDisks, tmp_path: Path) -> None:
    layers = DiskLayers(tmp_path)
    layers.prepare(["one"], blank)
    layers.add("two", blank)
    layers.prepare(["one", "two"], blank)
    assert [path.name for path in layers.live.iterdir()] == ["two"]
    assert [path.name for path in layers.frozen.iterdir()] == ["one"]
    assert (layers.frozen / "one").stat().st_mode & 0o222 == 0


def test_a_missing_lower_layer_is_never_replaced_by_an_empty_one(blank: BlankDisks, tmp_path: Path) -> None:
    with pytest.raises(GuestFailed, match="lost"):
        DiskLayers(tmp_path).prepare(["lost", "top"], blank)
    assert not list(tmp_path.rglob("lost"))


def test_an_adopted_layer_outlives_the_machine_it_came_from(blank: BlankDisks, tmp_path: Path) -> None:
    one, two = DiskLayers(tmp_path / "one"), DiskLayers(tmp_path / "two")
    (tmp_path / "one").mkdir()
    one.prepare(["base"], blank)
    two.adopt(one, ["base"])
    one.keep_only([])
    assert list(one.live.iterdir()) == []
    assert (two.frozen / "base").read_bytes() == blank.qcow2.read_bytes()


def test_a_disk_takes_the_folders_that_a_spare_sees_and_keeps_its_layers(blank: BlankDisks, tmp_path: Path) -> None:
    (tmp_path / "spare").mkdir()
    (tmp_path / "home").mkdir()
    spare, home = DiskLayers(tmp_path / "spare"), DiskLayers(tmp_path / "home")
    spare.prepare([], blank)
    home.prepare(["one"], blank)
    home.add("two", blank)
    home.prepare(["one", "two"], blank)
    seen = [folder.stat().st_ino for folder in (spare.live, spare.frozen)]
    before = {path.name: path.stat().st_ino for path in (home.live / "two", home.frozen / "one")}
    home.take_folders(spare)
    assert [folder.stat().st_ino for folder in (home.live, home.frozen)] == seen
    assert {path.name: path.stat().st_ino for path in (home.live / "two", home.frozen / "one")} == before


def test_a_new_disk_takes_the_folders_that_a_spare_sees(blank: BlankDisks, tmp_path: Path) -> None:
    (tmp_path / "spare").mkdir()
    (tmp_path / "home").mkdir()
    spare, home = DiskLayers(tmp_path / "spare"), DiskLayers(tmp_path / "home")
    spare.prepare([], blank)
    seen = [folder.stat().st_ino for folder in (spare.live, spare.frozen)]
    home.take_folders(spare)
    home.prepare(["top"], blank)
    assert [folder.stat().st_ino for folder in (home.live, home.frozen)] == seen
    assert (home.live / "top").exists()


def test_a_baseline_holds_the_tree_as_roots_at_its_fixed_size(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "folder" / "file").write_bytes(b"content")
    os.chown(tree / "folder" / "file", os.getuid(), os.getgid())
    make_baseline(tree, tmp_path / "image")
    assert (tmp_path / "image").stat().st_size == BASELINE_BYTES
    facts = output("dump.erofs", "--path=/folder/file", tmp_path / "image")
    assert "Uid: 0   Gid: 0" in facts
    output("fsck.erofs", f"--extract={tmp_path / 'out'}", tmp_path / "image")
    assert (tmp_path / "out/folder/file").read_bytes() == b"content"
