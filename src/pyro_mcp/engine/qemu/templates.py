"""Warm templates: a machine is booted once per shape and saved; every later machine is a copy-on-write clone of it.

A template is a folder named by a digest of everything that shaped it. It appears complete or not at all, never changes,
and is built once even when several processes need it at the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from pyro_mcp.engine import processes
from pyro_mcp.engine.cage import Bind
from pyro_mcp.engine.disks import DISK_BYTES, BlankDisks, DiskLayers, give_to_machine, make_read_only
from pyro_mcp.engine.interface import Command, Shape, System
from pyro_mcp.engine.qemu import command_line
from pyro_mcp.engine.qemu.command_line import qemu_argv
from pyro_mcp.engine.qemu.disk_files import disk_binds
from pyro_mcp.engine.qemu.qemu_cage import caged_qemu, qemu_limits
from pyro_mcp.engine.qemu.qmp import monitor
from pyro_mcp.engine.slots import connected
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.errors import Busy, GuestFailed, InvalidRequest, PyroError
from pyro_mcp.guest_protocol import frames
from pyro_mcp.host.files import abandoned_scratch, atomic_folder, locked, require_space
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.host.seals import damaged, seal
from pyro_mcp.host.user_ids import UserIds, machine_ids, release_ids
from pyro_mcp.network import isolated_tap

FORMAT = 1
"""The version of the files of a template: templates of another version are not used."""
MOST_BYTES = 2 * 1024**3
"""Templates that are not in use make room for a new one when all together take more."""
_MOST_SECONDS_UNUSED = 30 * 24 * 3600.0
_RECORD, _USED = "template.json", "used"
_LAYER = "template"
_BOOT_DEADLINE = {"kvm": 60.0, "tcg": 180.0}
# Run once before saving, so that every clone finds them in its page cache.
_WARM_UP = (["/bin/sh", "-c", "true"], ["true"], ["env"], ["cat", "/dev/null"], ["ls", "/"])


@dataclass(frozen=True)
class TemplateSource:
    """Everything that shapes a template."""

    system: System
    shape: Shape
    initramfs: Path
    blank: BlankDisks
    accelerator: str

    def key(self) -> str:
        """Return the name of the template's folder, which changes when any ingredient does."""
        program = require_program("qemu-system-x86_64")
        found = os.stat(program)
        fds = [0] * len(MachineSockets(Path()).all)
        argv = qemu_argv(program, self.shape, self.accelerator, fds, [_LAYER], booting=True)
        ingredients = [
            FORMAT, frames.VERSION, argv, [found.st_size, found.st_mtime_ns], host_processor(self.accelerator),
            self.system.kernel_digest, self.system.root_digest, self.initramfs.parent.name, str(self.blank.ext4),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(ingredients).encode()).hexdigest()[:32]

    def described(self) -> list[object]:
        """Return the root file system and the shape, by which an outdated template is recognised."""
        return [self.system.root_digest, *astuple(self.shape)]

    @property
    def boot_files(self) -> list[Bind]:
        """Return the kernel and the initramfs, as such a machine sees them in its cage."""
        return [Bind(self.system.vmlinuz, command_line.KERNEL), Bind(self.initramfs, command_line.INITRAMFS)]


@dataclass(frozen=True)
class Template:
    """A saved machine: its memory, the state of its devices, and what it was made of."""

    folder: Path
    source: TemplateSource
    cold_boot_ms: float

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the template from being removed while a machine opens it, and mark it as the most recently used."""
        with locked(_users(self.folder), deadline_seconds=60, shared=True, what="the template"):
            with suppress(OSError):
                os.utime(self.folder / _USED)
            yield

    @property
    def ram(self) -> Path:
        return self.folder / "ram"

    @property
    def state(self) -> Path:
        return self.folder / "state"


class Templates:
    """The templates in one cache folder."""

    def __init__(self, cache: Path, boot: Callable[[Path, TemplateSource], None] | None = None) -> None:
        """`boot` makes the files of a template in an empty folder; by default it boots a machine and saves it."""
        self._folder = cache / "templates"
        self._boot = boot or boot_and_save

    def find(self, source: TemplateSource) -> Template | None:
        """Return the template for `source` if it exists undamaged, else None; costs a few file reads."""
        return _load(self._folder / source.key(), source)

    def ensure(self, source: TemplateSource, progress: Progress = silent) -> tuple[Template, bool]:
        """Return the template for `source`, and whether it was made now (2–6 s under emulation).

        Raises `GuestFailed`, `GuestGone` or `DeadlineExceeded` when the machine does not boot.
        """
        if (found := self.find(source)) is not None:
            return found, False
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = self._folder / source.key()
        with self._making(folder):
            if (found := _load(folder, source)) is not None:
                return found, False
            _sweep(self._folder)
            progress(f"booting {source.shape.vcpu_count} vCPU, {source.shape.mem_mib} MiB once, to be cloned", None)
            with atomic_folder(folder) as scratch:
                self._boot(scratch, source)
            self._make_room(folder)
        made = _load(folder, source)
        if made is None:
            raise GuestFailed("the template that was just made cannot be read back")
        return made, True

    def remove_leftovers(self) -> None:
        """End the machines of makers that were killed while they booted one, and remove what they had made."""
        if self._folder.is_dir():
            _sweep(self._folder)

    def older(self, source: TemplateSource) -> bool:
        """Return whether there is a template for the same root and shape, whatever its other ingredients."""
        return any(_made_of(folder) == source.described() for folder in self._folder.glob("*/"))

    @contextmanager
    def anew(self, template: Template, progress: Progress = silent) -> Iterator[Template]:
        """Make another template of the same source; it replaces `template` when the block ends without an error.

        For one whose files are as they were saved and that still does not work: only a fresh one that does shows
        that the fault is not the host's.
        """
        with self._making(template.folder), atomic_folder(template.folder) as scratch:
            progress("booting another one, to be cloned", None)
            self._boot(scratch, template.source)
            yield Template(scratch, template.source, 0.0)

    def prune(self) -> int:
        """Remove every template that no machine uses; return the number of bytes freed."""
        return sum(self._remove(folder) for folder in self._complete())

    def held_bytes(self) -> int:
        """Return how many bytes all templates occupy on the disk."""
        return sum(_bytes(folder) for folder in self._complete())

    def _make_room(self, made: Path) -> None:
        """Remove the least recently used templates that no machine runs on, until all fit; never `made`."""
        folders = sorted((folder for folder in self._complete() if folder != made), key=_used_at)
        held, now = self.held_bytes(), time.time()
        for folder in folders:
            if held > MOST_BYTES or now - _used_at(folder) > _MOST_SECONDS_UNUSED:
                held -= self._remove(folder)

    def _remove(self, folder: Path) -> int:
        """Remove a template unless a machine uses it; return the number of bytes freed."""
        if processes.find_processes(str(folder)):
            return 0
        try:
            with self._making(folder, deadline_seconds=0), locked(_users(folder), deadline_seconds=0):
                freed = _bytes(folder)
                shutil.rmtree(folder, ignore_errors=True)
                for lock in (_users(folder), folder.with_suffix(".lock")):
                    lock.unlink(missing_ok=True)
                return freed
        except Busy:
            return 0

    def _complete(self) -> list[Path]:
        return list(self._folder.glob("[!.]*/"))

    def _making(self, folder: Path, deadline_seconds: float = 300) -> AbstractContextManager[int]:
        """Held by whoever makes or removes a template."""
        lock = folder.with_suffix(".lock")
        return locked(lock, deadline_seconds=deadline_seconds, what="the template being made")


def _sweep(folder: Path) -> None:
    """End the machines of makers that were killed, and remove what they had made."""
    for scratch in abandoned_scratch(folder):
        sockets = _boot_sockets(scratch)
        processes.kill_found(str(scratch), sockets)
        shutil.rmtree(sockets.folder, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)


def _load(folder: Path, source: TemplateSource) -> Template | None:
    try:
        made = json.loads((folder / _RECORD).read_text())
        template = Template(folder, source, float(made["cold_boot_ms"]))
        return None if damaged(folder) else template
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _made_of(folder: Path) -> object:
    try:
        return json.loads((folder / _RECORD).read_text())["made_of"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _users(folder: Path) -> Path:
    """Return the lock that machines share while they open a template."""
    return folder.with_suffix(".use")


def _used_at(folder: Path) -> float:
    try:
        return (folder / _USED).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _bytes(folder: Path) -> int:
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())


def boot_and_save(folder: Path, source: TemplateSource) -> None:
    """Boot a machine of this source, and save its memory and the state of its devices in `folder`."""
    started = time.monotonic()
    layers = DiskLayers(folder)
    layers.prepare([_LAYER], source.blank)
    ram = folder / "ram"
    with open(ram, "wb") as file:
        file.truncate(source.shape.mem_mib * 1024 * 1024)
    ids = machine_ids(folder)
    give_to_machine(ids, ram)
    with _booted(folder, source, ram, layers, ids) as sockets:
        cold_boot_ms = _reach_agent(sockets, source.accelerator, started)
        _save(sockets, folder / "state")
    for path in (ram, folder / "state"):
        make_read_only(path)
    layers.keep_only(())
    release_ids(folder)
    (folder / _RECORD).write_text(json.dumps({"made_of": source.described(), "cold_boot_ms": cold_boot_ms}))
    seal(folder)
    (folder / _USED).touch()


def _boot_sockets(scratch: Path) -> MachineSockets:
    return MachineSockets(scratch / "sockets")


@contextmanager
def _booted(
    folder: Path, source: TemplateSource, ram: Path, layers: DiskLayers, ids: UserIds | None
) -> Iterator[MachineSockets]:
    """Boot a machine from `source` for the time of the block; an error in the block gets the console's last lines."""
    sockets = _boot_sockets(folder)
    deadline = _BOOT_DEADLINE[source.accelerator]
    limits = qemu_limits(source.shape.mem_mib, max(DISK_BYTES, ram.stat().st_size), deadline + 30)
    binds = [
        *source.boot_files,
        *disk_binds(source.system.root, source.blank, layers),
        Bind(ram, command_line.RAM, writable=True),
    ]
    user = ids.machine if ids else None

    def argv(fds: list[int]) -> list[str]:
        program = require_program("qemu-system-x86_64")
        words = qemu_argv(program, source.shape, source.accelerator, fds, [_LAYER], booting=True, console=True, tap=tap)
        kvm = source.accelerator == "kvm"
        return caged_qemu(words, binds, limits, user=user, kvm=kvm)

    with isolated_tap() if source.shape.network else nullcontext(-1) as tap:
        identity = processes.launch(argv, sockets, folder / "log", tap)
    try:
        yield sockets
    except PyroError as error:
        require_space(folder)  # QEMU is killed without a word when its memory cannot be written
        said = (folder / "log").read_text(errors="replace")
        last = "\n".join(said.strip().splitlines()[-8:]) or "(nothing)"
        raise GuestFailed(f"the machine did not boot: {error.message}\nIt printed: {last}", hint=error.hint) from error
    finally:
        processes.kill(identity, sockets)


def _reach_agent(sockets: MachineSockets, accelerator: str, started: float) -> float:
    """Wait for the agent and run a few programs; return the ms from `started` to the agent's WELCOME."""
    with connected(sockets.folder) as guest:
        guest.hello(deadline_seconds=_BOOT_DEADLINE[accelerator])
        cold_boot_ms = (time.monotonic() - started) * 1000
        for words in _WARM_UP:
            try:
                guest.run(Command(words, cwd="/", environ={"PATH": "/usr/bin:/bin"}, timeout_seconds=30))
            except InvalidRequest:
                continue  # an image without that directory or program is allowed
    return cold_boot_ms


def _save(sockets: MachineSockets, state: Path) -> None:
    with monitor(sockets.monitor, deadline_seconds=60) as qmp, open(state, "wb") as file:
        qmp.execute("stop")
        qmp.transfer("migrate", file.fileno())


def host_processor(accelerator: str) -> str:
    """Return the model of the host's processor for KVM, whose guests see it; "" for emulation."""
    if accelerator != "kvm":
        return ""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("vendor_id", "model", "stepping", "flags")))
