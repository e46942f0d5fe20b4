"""When a saved machine is used, and when it is as if it were not there; no machine is started."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_mcp.engine.disks import BlankDisks
from pyro_mcp.engine.interface import Shape, System
from pyro_mcp.engine.qemu import templates as module
from pyro_mcp.engine.qemu.templates import Template, Templates, TemplateSource
from pyro_mcp.errors import GuestFailed
from pyro_mcp.host.seals import seal


def build(folder: Path, source: TemplateSource) -> None:
    """What a boot leaves, without the boot."""
    (folder / "ram").write_bytes(b"memory")
    (folder / "state").write_bytes(b"devices")
    (folder / "template.json").write_text(json.dumps({"made_of": source.described(), "cold_boot_ms": 1234.5}))
    seal(folder)
    (folder / "used").touch()


@pytest.fixture
def source(tmp_path: Path) -> TemplateSource:
    disks = BlankDisks(*(tmp_path / name for name in ("ext4", "qcow2", "erofs")))
    system = System(tmp_path / "vmlinuz", "sha256:kernel", (), tmp_path / "root", "sha256:root")
    return TemplateSource(system, Shape(1, 512), tmp_path / "initramfs-digest" / "initramfs.cpio", disks, "tcg")


@pytest.fixture
def templates(home: Path) -> Templates:
    """Templates whose machines boot at once."""
    return Templates(home, boot=build)


@pytest.fixture
def template(templates: Templates, source: TemplateSource) -> Template:
    return templates.ensure(source)[0]


def test_the_key_changes_with_each_ingredient(source: TemplateSource, tmp_path: Path) -> None:
    system = source.system
    others = [
        replace(source, system=replace(system, kernel_digest="sha256:other")),
        replace(source, system=replace(system, root_digest="sha256:other")),
        replace(source, shape=Shape(2, 512)),
        replace(source, shape=Shape(1, 513)),
        replace(source, initramfs=tmp_path / "other-digest" / "initramfs.cpio"),
        replace(source, blank=replace(source.blank, ext4=tmp_path / "other")),
        replace(source, accelerator="kvm"),
    ]
    assert len({source.key(), *(other.key() for other in others)}) == 1 + len(others)


def test_the_key_changes_with_qemu(source: TemplateSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    keys = [source.key()]
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    keys.append(source.key())
    os.utime(program, (1, 1))
    keys.append(source.key())
    program.write_text("#!/bin/sh\n# longer\n")
    os.utime(program, (1, 1))
    keys.append(source.key())
    assert len(set(keys)) == 4


@pytest.mark.parametrize("constant", ["FORMAT", "host_processor"])
def test_the_key_changes_with_the_format_and_the_processor(
    source: TemplateSource, monkeypatch: pytest.MonkeyPatch, constant: str
) -> None:
    before = source.key()
    monkeypatch.setattr(module, constant, 99 if constant == "FORMAT" else lambda _: "another processor")
    assert source.key() != before


def test_the_key_stays_when_only_places_change(source: TemplateSource, tmp_path: Path) -> None:
    moved = replace(source.system, vmlinuz=tmp_path / "elsewhere", root=tmp_path / "elsewhere")
    assert replace(source, system=moved).key() == source.key()


def test_a_template_is_made_once_and_found_again(templates: Templates, source: TemplateSource) -> None:
    assert templates.find(source) is None
    template, made = templates.ensure(source)
    assert (made, template.cold_boot_ms, template.ram.read_bytes()) == (True, 1234.5, b"memory")
    assert templates.ensure(source) == (template, False)
    assert templates.find(source) == template


@pytest.mark.parametrize("name", ["ram", "state"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "grown", "gone"])
def test_a_template_whose_files_were_changed_is_made_again(
    templates: Templates, template: Template, source: TemplateSource, name: str, damage: str
) -> None:
    path = template.folder / name
    match damage:
        case "flipped":
            path.write_bytes(path.read_bytes()[:-1] + b"!")
        case "cut":
            os.truncate(path, 1)
        case "grown":
            path.write_bytes(path.read_bytes() + b"x")
        case "gone":
            path.unlink()
    assert templates.find(source) is None
    assert templates.ensure(source)[1]
    assert templates.find(source) is not None


def test_a_template_whose_files_were_touched_is_found(
    templates: Templates, template: Template, source: TemplateSource
) -> None:
    for path in (template.ram, template.state):
        os.utime(path, (1, 1))
    assert templates.find(source) == template


@pytest.mark.parametrize("outcome", ["works", "fails"])
def test_a_template_is_replaced_only_by_one_that_works(
    templates: Templates, template: Template, source: TemplateSource, outcome: str
) -> None:
    before = template.ram.stat().st_ino
    with suppress(GuestFailed), templates.anew(template) as fresh:
        assert fresh.ram.read_bytes() == b"memory"
        assert template.ram.stat().st_ino == before
        if outcome == "fails":
            raise GuestFailed("it does not resume")
    assert (template.ram.stat().st_ino == before) == (outcome == "fails")
    assert templates.find(source) == replace(template, cold_boot_ms=1234.5)


def test_the_least_recently_used_templates_make_room(
    templates: Templates, source: TemplateSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [replace(source, shape=Shape(1, size)) for size in (256, 257, 258, 259)]
    monkeypatch.setattr(module, "MOST_BYTES", 2**60)
    made = [templates.ensure(one)[0] for one in shapes[:3]]
    for at, template in enumerate((made[1], made[0], made[2])):
        os.utime(template.folder / "used", (time.time() - 100 + at, time.time() - 100 + at))
    with made[1].in_use():  # now it is the most recently used one
        pass
    monkeypatch.setattr(module, "MOST_BYTES", templates.held_bytes())
    templates.ensure(shapes[3])
    assert [templates.find(one) is not None for one in shapes] == [False, True, True, True]


def test_a_template_unused_for_a_month_goes_when_another_is_made(
    templates: Templates, template: Template, source: TemplateSource
) -> None:
    month_ago = time.time() - 31 * 24 * 3600
    os.utime(template.folder / "used", (month_ago, month_ago))
    templates.ensure(replace(source, shape=Shape(2, 512)))
    assert templates.find(source) is None


def test_prune_takes_every_template_but_those_in_use(
    templates: Templates, template: Template, source: TemplateSource
) -> None:
    other, _ = templates.ensure(replace(source, shape=Shape(2, 512)))
    with template.in_use():
        assert templates.prune() > 0
    assert (template.folder.exists(), other.folder.exists()) == (True, False)
    assert templates.prune() > 0
    assert templates.held_bytes() == 0
    assert sorted(path.name for path in template.folder.parent.iterdir()) == []


def test_a_state_with_other_bytes_but_the_same_size_and_date_is_seen(
    templates: Templates, template: Template, source: TemplateSource
) -> None:
    found = template.state.stat()
    template.state.write_bytes(b"devicez")
    os.utime(template.state, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert templates.find(source) is None


@pytest.mark.parametrize(
    "record", ["", "{", "[]", "null", "{}", '{"cold_boot_ms": null}', "\udcff", '{"cold_boot_ms": "x"}']
)
def test_a_template_with_a_broken_record_is_not_loaded(
    templates: Templates, template: Template, source: TemplateSource, record: str
) -> None:
    (template.folder / "template.json").write_bytes(record.encode(errors="surrogateescape"))
    assert templates.find(source) is None
    assert not templates.older(source)
    assert templates.ensure(source)[1]


def test_a_failed_boot_leaves_nothing_and_the_next_one_works(
    templates: Templates, source: TemplateSource, home: Path
) -> None:
    def fail(folder: Path, _: TemplateSource) -> None:
        (folder / "ram").write_bytes(b"half")
        raise GuestFailed("it did not boot")

    with pytest.raises(GuestFailed, match="did not boot"):
        Templates(home, boot=fail).ensure(source)
    assert [path.name for path in (home / "templates").iterdir() if path.is_dir()] == []
    assert templates.ensure(source)[1]


@contextmanager
def a_dead_process() -> Iterator[int]:
    """The number of a process that has ended, and that no other has while the block runs."""
    with subprocess.Popen(["/bin/true"]) as child:
        child.wait()
        yield child.pid


def test_what_killed_makers_left_is_swept_and_what_living_ones_make_is_not(
    templates: Templates, source: TemplateSource, home: Path
) -> None:
    with a_dead_process() as gone:
        left = home / "templates" / f".scratch-{gone}-00000000"
        sockets = left / "sockets"
        being_made = home / "templates" / f".scratch-{os.getpid()}-00000000"
        for folder in (left, sockets, being_made):
            folder.mkdir(parents=True)
            (folder / "file").touch()
        templates.ensure(source)
    assert (left.exists(), sockets.exists(), being_made.exists()) == (False, False, True)


def test_an_older_template_of_the_same_root_and_shape_makes_it_stale(
    templates: Templates, source: TemplateSource
) -> None:
    assert not templates.older(source)
    templates.ensure(source)
    newer = replace(source, system=replace(source.system, kernel_digest="sha256:newer"))
    assert templates.older(newer)
    assert not templates.older(replace(source, shape=Shape(2, 512)))
