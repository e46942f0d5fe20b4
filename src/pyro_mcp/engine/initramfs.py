"""The guest's initramfs: the agent as /init, our other programs, and the kernel modules that the agent loads."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pyro_mcp.engine.guest_programs import agent_binary, session_binary, tool_binary
from pyro_mcp.engine.interface import System
from pyro_mcp.errors import HostNotReady
from pyro_mcp.host.files import atomic_folder, locked
from pyro_mcp.host.seals import intact, seal

BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "virtio_net", "overlay", "erofs")
"""The kernel modules that a guest needs to reach its disks and ports, by their names in the kernel; those that they
depend on come with them."""
_ORDER = "modules.order-pyro"
_TRAILER = "TRAILER!!!"


def initramfs(system: System, cache: Path) -> Path:
    """Return the initramfs for `system`, made at the first call; its folder is named by a digest of its content."""
    programs = {"init": _built(agent_binary()), "tool": _built(tool_binary()), "session": _built(session_binary())}
    names = [path.name for path in system.modules]
    digests = [hashlib.sha256(program).hexdigest() for program in programs.values()]
    ingredients = [*digests, system.kernel_digest, names]
    digest = hashlib.sha256(json.dumps(ingredients).encode()).hexdigest()[:32]
    target = cache / "initramfs" / digest
    image = target / "initramfs.cpio"
    if not _is_intact(image):
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.parent / f"{digest}.lock", deadline_seconds=60):
            if not _is_intact(image):
                with atomic_folder(target) as scratch:
                    (scratch / image.name).write_bytes(b"".join(_archive(programs, system.modules)))
                    (scratch / image.name).chmod(0o444)
                    seal(scratch)
    return image


def _is_intact(image: Path) -> bool:
    return intact(image.parent, lambda: _is_whole(image))


def _is_whole(image: Path) -> bool:
    end = _entry(_TRAILER, 0)
    try:
        with open(image, "rb") as file:
            file.seek(-min(len(end), file.seek(0, os.SEEK_END)), os.SEEK_END)
            return file.read() == end
    except FileNotFoundError:
        return False


def _built(program: Path) -> bytes:
    try:
        return program.read_bytes()
    except FileNotFoundError as error:
        raise HostNotReady(
            f"the guest's program {program} has not been built", hint="in a source checkout run: make setup"
        ) from error


def _archive(programs: Mapping[str, bytes], modules: tuple[Path, ...]) -> Iterator[bytes]:
    order = "".join(f"/modules/{path.name}\n" for path in modules).encode()
    for name, program in programs.items():
        yield _entry(name, 0o100755, program)
    yield _entry("modules", 0o040755)
    for path in modules:
        yield _entry(f"modules/{path.name}", 0o100644, path.read_bytes())
    yield _entry(_ORDER, 0o100644, order)
    yield _entry(_TRAILER, 0)


def _entry(name: str, mode: int, content: bytes = b"") -> bytes:
    """Return one member in the "new ASCII" cpio format: cpio(5), the kernel's buffer-format.rst."""
    path = os.fsencode(name) + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + path) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
