"""Starting, reaching and ending real machines: clones of warm templates."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from pyro_mcp.engine import processes
from pyro_mcp.engine.cage import Bind, CageLimits, caged
from pyro_mcp.engine.disks import DISK_BYTES, MOST_LAYERS, DiskLayers, blank_disks, give_to_machine
from pyro_mcp.engine.freeze import while_frozen
from pyro_mcp.engine.guest_connection import GuestConnection
from pyro_mcp.engine.initramfs import initramfs
from pyro_mcp.engine.interface import Accelerator, Preparation, Shape, StartRequest, System, TemplateState
from pyro_mcp.engine.lifetime import deadline_file, set_lifetime
from pyro_mcp.engine.qemu import command_line, layer_merge
from pyro_mcp.engine.qemu.accelerator import accelerator, remember
from pyro_mcp.engine.qemu.command_line import layer_node, qemu_argv
from pyro_mcp.engine.qemu.qmp import monitor
from pyro_mcp.engine.qemu.system_calls import qemu_filter
from pyro_mcp.engine.qemu.templates import Template, Templates, TemplateSource
from pyro_mcp.engine.slots import connected
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.errors import (
    Busy,
    DeadlineExceeded,
    GuestFailed,
    GuestGone,
    InvalidRequest,
    NoSpace,
    ProtocolViolation,
    PyroError,
)
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import abandoned_scratch
from pyro_mcp.host.process_identity import Identity, alive
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.host.user_ids import machine_ids

_RESUME_DEADLINE = 60.0
_ROOM_BYTES = 8 * 1024**2
_MERGE_DEADLINE = 300.0
_POWER_OFF_SILENCE = 2.0
_POWER_OFF_DEADLINE = 5.0
_FLUSH_DEADLINE = 600.0
_QUESTION_DEADLINE = 1.0
_FORCE = Hint(
    "try again; {} ends it without a flush: file writes, patches, pushes and snapshots stay, but what commands wrote "
    "in the last seconds may be lost",
    Verb("workspace stop", force=True),
)
# Makes QEMU open a template's memory read-only: see cage/readonly_ram.c.
_READONLY_RAM = Path(__file__).parents[1] / "readonly-ram.so"


class QemuEngine:
    """The real engine: QEMU, caged. All state is in files, so any number of processes may hold one of these."""

    execution_mode = "guest_virtio"

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._templates = Templates(cache)

    def accelerator(self) -> Accelerator:
        """What runs machines here, and why."""
        return accelerator(self._cache)

    def template_state(self, system: System, shape: Shape) -> TemplateState:
        """Whether a start would find a template."""
        source = self._source(system, shape, self.accelerator().name)
        if self._templates.find(source) is not None:
            return "warm"
        return "stale" if self._templates.older(source) else "cold"

    def prepare(self, system: System, shape: Shape, progress: Progress = silent) -> Preparation:
        """Have a warm template for machines of this shape."""
        template, made = self._template(system, shape, progress)
        return Preparation(template.source.accelerator, template.cold_boot_ms, reused=not made)

    def start(self, request: StartRequest, progress: Progress = silent) -> Identity:
        """Start a machine and make it one of its own; returns when it takes commands.

        Nothing is left running when this raises.
        """
        if request.system is None:
            raise InvalidRequest("a virtual machine needs an environment to boot from")
        template, _ = self._template(request.system, request.shape, progress)
        try:
            with template.in_use():
                return _clone(template, request)
        except (_BadTemplate, FileNotFoundError) as error:
            if self._templates.find(template.source) is not None:
                return self._on_another(template, request, progress, error)
        # Damaged, or removed a moment ago: find says so, and a fresh one is the cure for both.
        template, _ = self._template(request.system, request.shape, progress)
        with template.in_use():
            return _clone(template, request)

    def _on_another(self, template: Template, request: StartRequest, progress: Progress, error: Exception) -> Identity:
        """Start on a fresh template, which replaces `template` if that works; else raise `error`, the first failure."""
        try:
            with self._templates.anew(template, progress) as fresh:
                return _clone(fresh, request)
        except (PyroError, OSError):
            raise error from None

    def remove_leftovers(self) -> None:
        """Remove what makers left that were killed half way: machines that boot, scratch folders."""
        self._templates.remove_leftovers()
        for name in ("disks", "initramfs"):
            for scratch in abandoned_scratch(self._cache / name):
                shutil.rmtree(scratch, ignore_errors=True)

    def prune_templates(self) -> int:
        """Remove the templates that no machine runs on; the bytes freed."""
        return self._templates.prune()

    def template_bytes(self) -> int:
        """What the templates take on the disk."""
        return self._templates.held_bytes()

    @contextmanager
    def connect(
        self, sockets: Path, *, deadline_seconds: float = 10.0, long_running: bool = False
    ) -> Iterator[GuestConnection]:
        """A connection to a running machine, for short work or for what may be `lasting`.

        Raises `NoSpace` when the machine waits for the host's disk.
        """
        look = partial(_require_space, MachineSockets(sockets))
        with connected(sockets, deadline_seconds=deadline_seconds, long_running=long_running, on_silence=look) as guest:
            yield guest

    def set_lifetime(self, home: Path, seconds: float) -> None:
        """Let a machine live for so many seconds from now; a running one follows within 5 s."""
        set_lifetime(home, seconds)

    def alive(self, identity: Identity) -> bool:
        """Whether the machine still runs."""
        return alive(identity)

    def kill(self, identity: Identity, sockets: Path) -> None:
        """Kill the machine and wait until nothing of it is left; twice is a no-op."""
        processes.kill(identity, MachineSockets(sockets))

    def kill_all(self, home: Path, sockets: Path) -> None:
        """Kill every process of the machine with this folder, also when nobody knows their numbers."""
        processes.kill_found(str(home), MachineSockets(sockets))

    def running_below(self, folder: Path) -> list[str]:
        """Return the folders below `folder` that a machine runs from, by name, also those removed meanwhile."""
        return list(processes.machines_below(str(folder)))

    def add_layer(self, home: Path, name: str) -> None:
        """An empty layer in the machine's home."""
        DiskLayers(home).add(name, blank_disks(self._cache))

    def is_layer_empty(self, home: Path, name: str) -> bool:
        """Whether the layer of a machine that does not run was never written."""
        return DiskLayers(home).is_empty(name, blank_disks(self._cache))

    def merge_layers(self, home: Path, sockets: Path, layers: Sequence[str]) -> None:
        """Merge layers of a running machine's disk now, so that another one may come; `layers` are those on record.

        Raises `NoSpace` when they cannot be merged.
        """
        files = DiskLayers(home)
        with monitor(MachineSockets(sockets).monitor, deadline_seconds=_MERGE_DEADLINE) as qmp:
            in_use = layer_merge.finish_merge(qmp, layers, wait=True)
            if len(in_use) >= MOST_LAYERS and _fits(files, sizes := files.sizes(in_use[:-1])):
                layer_merge.start_merge(qmp, in_use, sizes, wait=True)
                in_use = layer_merge.finish_merge(qmp, in_use, wait=True)
        if len(in_use) >= MOST_LAYERS:
            raise NoSpace(
                "the layers of the machine's disk could not be merged",
                hint=Hint("free some space where the state folder is ({} shows it), then try again", Verb("doctor")),
            )

    def switch_layer(self, home: Path, sockets: Path, layers: Sequence[str], name: str) -> tuple[str, ...]:
        """Freeze what a running machine's disk holds: from here on it writes to the layer `name`.

        `layers` are those on record; return those that are frozen now, lowest first: fewer, when some were merged.
        The guest's file system is flushed and stands still for the moment of the change (some 10 ms).
        """
        files = DiskLayers(home)
        with self.connect(sockets) as guest, monitor(MachineSockets(sockets).monitor, deadline_seconds=60) as qmp:
            frozen = layer_merge.finish_merge(qmp, layers, wait=False)
            qmp.execute("blockdev-add", **layer_node(name, f"{command_line.LIVE}/{name}"), backing=None)
            # It flushes the layer that was written, too: so what was merged into it is on the disk.
            while_frozen(guest, lambda: qmp.execute("blockdev-snapshot", node=frozen[-1], overlay=name))
            if len(frozen) > layer_merge.MERGE_ABOVE and _fits(files, sizes := files.sizes(frozen)):
                with suppress(GuestFailed):  # the next one tries again
                    layer_merge.start_merge(qmp, (*frozen, name), sizes)
        return frozen

    def power_off(
        self, identity: Identity, sockets: Path, when_flushed: Callable[[], object], progress: Progress = silent
    ) -> None:
        """Flush the machine's disk, call `when_flushed`, and end it.

        Raises, and leaves it running, when its disk cannot be flushed or `when_flushed` raises. A flush may take long
        as long as the guest says that it lives.
        """
        try:
            with self.connect(sockets, deadline_seconds=_POWER_OFF_SILENCE) as guest:
                for pause in (False, True):  # most of it while programs go on; the rest when none can write any more
                    guest.flush(
                        deadline_seconds=_FLUSH_DEADLINE,
                        silence_seconds=_POWER_OFF_SILENCE,
                        pause=pause,
                        on_unwritten=lambda left: progress(f"writing the disk: {left / 1024**2:.0f} MiB left", None),
                    )
                when_flushed()
                # From here on nothing is lost, however it ends.
                with suppress(PyroError):
                    guest.power_off(deadline_seconds=_POWER_OFF_SILENCE)
                    processes.wait_for_end(identity, MachineSockets(sockets), deadline_seconds=_POWER_OFF_DEADLINE)
                self.kill(identity, sockets)
        except (GuestGone, GuestFailed, DeadlineExceeded, ProtocolViolation, Busy) as error:
            if alive(identity):
                message = f"the machine runs on, its disk could not be flushed: {error.message}"
                raise type(error)(message, hint=_FORCE) from error
            self.kill(identity, sockets)

    def _template(self, system: System, shape: Shape, progress: Progress) -> tuple[Template, bool]:
        """A template, and whether it was made; only a boot shows whether KVM really works, else emulation does."""
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2
        if shape.mem_mib > total:
            raise InvalidRequest(f"this host has {total} MiB of memory; a machine cannot have {shape.mem_mib}")
        chosen = self.accelerator()
        source = self._source(system, shape, chosen.name)
        try:
            return self._templates.ensure(source, progress)
        except (GuestFailed, DeadlineExceeded) as error:
            if chosen.name != "kvm" or chosen.reason.startswith("PYRO_ACCELERATOR"):
                raise
            why = error.message.splitlines()[0]
            remember(self._cache, Accelerator("tcg", f"KVM did not boot a machine ({why}), so QEMU emulates"))
            return self._templates.ensure(self._source(system, shape, "tcg"), progress)

    def _source(self, system: System, shape: Shape, accelerator_name: str) -> TemplateSource:
        return TemplateSource(system, shape, initramfs(system, self._cache), blank_disks(self._cache), accelerator_name)


def _clone(template: Template, request: StartRequest) -> Identity:
    source = template.source
    layers = DiskLayers(request.home)
    layers.prepare(request.layers, source.blank, new_disk=request.new_disk)
    binds = source.binds(layers, request.baseline or source.blank.baseline)
    binds += [Bind(template.ram, command_line.RAM), Bind(_READONLY_RAM, command_line.READONLY_RAM)]
    ids = machine_ids(request.home)
    if request.output is not None:
        give_to_machine(ids, request.output)
        binds.append(Bind(request.output, command_line.OUTPUT, writable=True))
    set_lifetime(request.home, request.lifetime_seconds)
    limits = CageLimits(request.shape.mem_mib, 2 * DISK_BYTES, deadline_file(request.home))

    def argv(fds: list[int]) -> list[str]:
        program = require_program("qemu-system-x86_64")
        output = request.output is not None
        words = qemu_argv(
            program, request.shape, source.accelerator, fds, request.layers, booting=False, output=output, tap=tap
        )
        user = ids.machine if ids else None
        kvm = source.accelerator == "kvm"
        allowed = qemu_filter(kvm=kvm)
        return caged(words, binds, limits, call_filter=allowed, user=user, kvm=kvm, preload=command_line.READONLY_RAM)

    sockets = MachineSockets(request.sockets)
    log = request.home / "qemu.log"
    tap = request.tap()
    identity = processes.launch(argv, sockets, log, tap)
    try:
        _resume(template, sockets)
        with connected(sockets.folder) as guest:
            guest.setup(hostname=request.hostname, files=request.files, generation=request.generation)
    except BaseException as error:
        processes.kill(identity, sockets)
        if isinstance(error, PyroError) and (said := log.read_text(errors="replace").strip()):
            raise type(error)(f"{error.message}\nQEMU said: {said[-2000:]}", hint=error.hint) from error
        raise
    return identity


def _require_space(sockets: MachineSockets) -> bool:
    """Resume a machine that QEMU stopped because it could not write its disk; whether it had.

    Raises `NoSpace` while the disk is full. With little room the machine stays stopped: it would use up what others
    need to be looked at and deleted.
    """
    try:
        with monitor(sockets.monitor, deadline_seconds=_QUESTION_DEADLINE) as qmp:
            if qmp.execute("query-status")["status"] != "io-error":
                return False
            # The layers of its disk are beside the sockets.
            if shutil.disk_usage(sockets.folder).free >= _ROOM_BYTES:
                qmp.execute("cont")
                return True
    except DeadlineExceeded:  # another client asks, or QEMU does not run: silence has an end of its own
        return False
    raise NoSpace(
        "the host's disk is full, so the machine was paused in the middle of a write",
        hint=Hint(
            "free some space where the state folder is ({} shows it); the next command resumes it", Verb("doctor")
        ),
    )


def _fits(files: DiskLayers, sizes: Sequence[int]) -> bool:
    """Whether there is room for a merge of layers of these sizes."""
    return files.has_space(sum(sizes[layer_merge.lowest_to_merge(sizes) :]))


class _BadTemplate(GuestFailed):
    """A machine could not go on from its template."""


def _resume(template: Template, sockets: MachineSockets) -> None:
    """Load the template's state and let the machine go on; raises `_BadTemplate` when it cannot."""
    try:
        _load_state(template, sockets)
        with connected(sockets.folder) as guest:
            guest.hello(deadline_seconds=_RESUME_DEADLINE)
    except (GuestFailed, DeadlineExceeded) as error:
        raise _BadTemplate(error.message, hint=error.hint) from error


def _load_state(template: Template, sockets: MachineSockets) -> None:
    with monitor(sockets.monitor, deadline_seconds=_RESUME_DEADLINE) as qmp, open(template.state, "rb") as state:
        qmp.transfer("migrate-incoming", state.fileno())
        qmp.execute("cont")
