"""A template on disk is whole, made once, and made again when anything about it is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.interface import Shape, System
from pyro_mcp.engine.processes import find_processes
from pyro_mcp.host.seals import seal
from tests.vm.running_vm import running

SMALL = Shape(mem_mib=192)
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.usefixtures("home"), pytest.mark.accelerators("qemu")]


@pytest.fixture(scope="module")
def cache(warm_cache: Path) -> Iterator[Path]:
    """A cache with templates of its own; what they are made of is shared."""
    folder = Path(tempfile.mkdtemp(prefix="pyro-", dir="/tmp"))
    for name in ("environments", "kernels"):
        (folder / name).symlink_to(warm_cache / name)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def saved(cache: Path, system: System) -> Path:
    """The folder of a good template."""
    GuestEngine(cache).prepare(system, SMALL)
    (folder,) = (cache / "templates").glob("[!.]*/")
    return folder


def flip_memory(folder: Path) -> None:
    with os.fdopen(os.open(folder / "ram", os.O_RDWR), "r+b") as ram:
        ram.seek(32 << 20)
        ram.write(os.urandom(4096))


def shorten_state(folder: Path) -> None:
    os.truncate(folder / "state", 1000)


def garble_state_unseen(folder: Path) -> None:
    before = (folder / "state").stat()
    (folder / "state").write_bytes(os.urandom(before.st_size))
    os.utime(folder / "state", ns=(before.st_atime_ns, before.st_mtime_ns))


def remove_memory(folder: Path) -> None:
    (folder / "ram").unlink()


def garble_description(folder: Path) -> None:
    (folder / "template.json").write_text("[1, 2")


@pytest.mark.parametrize("damage", [flip_memory, shorten_state, garble_state_unseen, remove_memory, garble_description])
def test_a_damaged_template_is_noticed_and_made_anew(
    cache: Path, saved: Path, system: System, home: Path, damage: Callable[[Path], None]
) -> None:
    machines = GuestEngine(cache)
    assert machines.template_state(system, SMALL) == "warm"
    for path in saved.iterdir():
        path.chmod(0o600)

    damage(saved)

    assert machines.template_state(system, SMALL) != "warm"
    with running(machines, system, home, shape=SMALL) as vm:
        assert vm.sh("echo good") == "good\n"
    assert machines.template_state(system, SMALL) == "warm"


def test_damage_that_only_a_resume_can_show_costs_one_more_boot(
    cache: Path, saved: Path, system: System, home: Path
) -> None:
    state = saved / "state"
    state.chmod(0o600)
    state.write_bytes(os.urandom(5000))
    seal(saved)
    machines = GuestEngine(cache)
    assert machines.template_state(system, SMALL) == "warm"

    with running(machines, system, home, shape=SMALL) as vm:
        assert vm.sh("echo good") == "good\n"


def test_a_client_that_cannot_start_qemu_leaves_the_template_to_others(
    cache: Path, saved: Path, system: System, home: Path
) -> None:
    before = (saved / "ram").stat().st_ino
    for limit in ("--nofile=24", "--nofile=32"):
        (home / "other").mkdir()
        program = [sys.executable, "-m", "tests.vm.start_machine", str(cache), str(SMALL.mem_mib), str(home / "other")]
        done = subprocess.run(
            ["prlimit", limit, *program], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
        )
        shutil.rmtree(home / "other")
        assert done.returncode != 0, limit
        assert (saved / "ram").stat().st_ino == before
    with running(GuestEngine(cache), system, home, shape=SMALL) as vm:
        assert vm.sh("echo good") == "good\n"


def test_a_prune_takes_templates_that_no_machine_runs_on(cache: Path, saved: Path, system: System, home: Path) -> None:
    machines = GuestEngine(cache)
    with running(machines, system, home, shape=SMALL) as vm:
        assert machines.prune_templates() == 0
        assert vm.sh("echo good") == "good\n"
    assert machines.template_bytes() > 0
    assert machines.prune_templates() > 0
    assert (machines.template_bytes(), saved.exists()) == (0, False)


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk: run the tests as root")
def test_a_full_disk_is_named_when_a_template_does_not_fit(
    cache: Path, saved: Path, warm_cache: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=40M,mode=700 tmpfs {small} && cp -a {cache}/disks {cache}/initramfs {small}"
    link = f"ln -s {warm_cache}/environments {warm_cache}/kernels {small}"
    prepare = f"exec {sys.executable} -m tests.vm.prepare_template {small} {SMALL.mem_mib} ''"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", f"{mount} && {link} && {prepare}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and saved.exists()
    assert "NoSpace" in done.stderr and "is full" in done.stderr, done.stderr


def test_two_processes_that_want_the_same_template_make_it_once(cache: Path, saved: Path) -> None:
    shutil.rmtree(saved)
    both = [preparing(cache) for _ in range(2)]

    assert sorted(one.communicate(timeout=120)[0] for one in both) == ["made\n", "reused\n"]


def test_a_killed_preparation_leaves_no_template_that_looks_complete(cache: Path, saved: Path, system: System) -> None:
    shutil.rmtree(saved)
    maker = preparing(cache, die_after="pyro_mcp.engine.qemu.templates:_save")
    maker.communicate(timeout=120)
    assert maker.returncode == -9
    machines = GuestEngine(cache)
    assert machines.template_state(system, SMALL) == "cold"

    assert machines.prepare(system, SMALL).reused is False

    assert find_processes(str(cache)) == []
    assert [path.name for path in (cache / "templates").iterdir() if path.name.startswith(".")] == []


def preparing(cache: Path, die_after: str = "") -> subprocess.Popen[str]:
    """Start another process that prepares the same template, and prints "made" or "reused"."""
    command = [sys.executable, "-m", "tests.vm.prepare_template", str(cache), str(SMALL.mem_mib), die_after]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
