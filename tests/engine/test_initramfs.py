"""The archive that a guest boots from, read by cpio and not by us."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pyro_mcp.engine import initramfs as module
from pyro_mcp.engine.initramfs import initramfs
from pyro_mcp.engine.interface import System
from pyro_mcp.errors import HostNotReady


@pytest.fixture(autouse=True)
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An agent of our own, in place of the one that was built with the package."""
    program = tmp_path / "agent"
    program.write_bytes(b"the agent")
    monkeypatch.setattr(module, "agent_binary", lambda: program)
    return program


@pytest.fixture(autouse=True)
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file tool of our own, likewise."""
    program = tmp_path / "tool"
    program.write_bytes(b"the tool")
    monkeypatch.setattr(module, "tool_binary", lambda: program)
    return program


@pytest.fixture(autouse=True)
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A supervisor of sessions of our own, likewise."""
    program = tmp_path / "session"
    program.write_bytes(b"the supervisor")
    monkeypatch.setattr(module, "session_binary", lambda: program)
    return program


def system(folder: Path, *names: str, kernel_digest: str = "sha256:1") -> System:
    for name in names:
        (folder / name).write_bytes(f"module {name}".encode())
    modules = tuple(folder / name for name in names)
    return System(folder / "vmlinuz", kernel_digest, modules, folder / "root", "sha256:2")


def cpio(archive: Path, *arguments: str, where: Path | None = None) -> str:
    """What cpio says of an archive; it fails on any that is malformed."""
    argv = ["cpio", "--quiet", "--no-absolute-filenames", *arguments]
    with archive.open("rb") as file:
        return subprocess.run(
            argv, stdin=file, cwd=where, check=True, timeout=30, stdout=subprocess.PIPE, text=True
        ).stdout


def test_the_archive_holds_the_programs_and_the_modules_in_load_order(tmp_path: Path) -> None:
    image = initramfs(system(tmp_path, "b.ko", "a.ko"), tmp_path / "cache")
    listed = ["init", "tool", "session", "modules", "modules/b.ko", "modules/a.ko", "modules.order-pyro"]
    assert cpio(image, "-t").splitlines() == listed


def test_the_archive_unpacks_to_what_went_in(tmp_path: Path) -> None:
    image = initramfs(system(tmp_path, "b.ko", "a.ko"), tmp_path / "cache")
    out = tmp_path / "out"
    out.mkdir()
    cpio(image, "-i", where=out)
    assert (out / "init").read_bytes() == b"the agent"
    assert (out / "tool").read_bytes() == b"the tool"
    assert (out / "session").read_bytes() == b"the supervisor"
    assert {(out / name).stat().st_mode & 0o777 for name in ("init", "tool", "session")} == {0o755}
    assert (out / "modules/a.ko").read_bytes() == b"module a.ko"
    assert (out / "modules.order-pyro").read_text() == "/modules/b.ko\n/modules/a.ko\n"


def test_the_same_parts_make_the_same_bytes(tmp_path: Path) -> None:
    made = [initramfs(system(tmp_path, "a.ko"), tmp_path / cache) for cache in ("one", "two")]
    assert made[0].read_bytes() == made[1].read_bytes()
    assert made[0].parent.name == made[1].parent.name


def test_it_is_made_once(tmp_path: Path) -> None:
    first = initramfs(system(tmp_path, "a.ko"), tmp_path / "cache").stat()
    again = initramfs(system(tmp_path, "a.ko"), tmp_path / "cache").stat()
    assert (first.st_ino, first.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)


def test_another_program_kernel_or_list_of_modules_makes_another(
    agent: Path, tool: Path, session: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    made = [initramfs(system(tmp_path, "a.ko", "b.ko"), cache)]
    made.append(initramfs(system(tmp_path, "b.ko", "a.ko"), cache))
    made.append(initramfs(system(tmp_path, "a.ko", "b.ko", kernel_digest="sha256:9"), cache))
    agent.write_bytes(b"the next agent")
    made.append(initramfs(system(tmp_path, "a.ko", "b.ko"), cache))
    tool.write_bytes(b"the next tool")
    made.append(initramfs(system(tmp_path, "a.ko", "b.ko"), cache))
    session.write_bytes(b"the next supervisor")
    made.append(initramfs(system(tmp_path, "a.ko", "b.ko"), cache))
    assert len({image.parent.name for image in made}) == 6
    assert b"the next agent" in made[3].read_bytes() and b"the next tool" in made[4].read_bytes()


@pytest.mark.parametrize("missing", ["agent", "tool", "session"])
def test_without_one_of_its_programs_it_says_how_to_build_them(missing: str, tmp_path: Path) -> None:
    (tmp_path / missing).unlink()
    with pytest.raises(HostNotReady) as raised:
        initramfs(system(tmp_path), tmp_path / "cache")
    assert "make setup" in raised.value.hint
