"""The engine of virtual machines, which starts each as a clone of a warm template."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from pyro_mcp.engine import processes
from pyro_mcp.engine.cage import Bind
from pyro_mcp.engine.disks import DISK_BYTES, MOST_LAYERS, DiskLayers, blank_disks, give_to_machine
from pyro_mcp.engine.freeze import while_frozen
from pyro_mcp.engine.guest_connection import GuestConnection
from pyro_mcp.engine.initramfs import initramfs
from pyro_mcp.engine.interface import Accelerator, Preparation, Shape, StartRequest, System, TemplateState
from pyro_mcp.engine.lifetime import deadline_file, set_lifetime
from pyro_mcp.engine.qemu import command_line, layer_merge
from pyro_mcp.engine.qemu.accelerator import accelerator, remember
from pyro_mcp.engine.qemu.command_line import layer_node, qemu_argv
from pyro_mcp.engine.qemu.qemu_cage import caged_qemu, qemu_limits
from pyro_mcp.engine.qemu.qmp import monitor
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
    """Implements `Engine` with caged QEMU. All state is in files, so any number of processes may have an instance."""

    execution_mode = "guest_virtio"

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._templates = Templates(cache)

    def accelerator(self) -> Accelerator:
        """Return the accelerator of this host, and why it was chosen."""
        return accelerator(self._cache)

    def template_state(self, system: System, shape: Shape) -> TemplateState:
        """Return whether a start would find a template."""
        source = self._source(system, shape, self.accelerator().name)
        if self._templates.find(source) is not None:
            return "warm"
        return "stale" if self._templates.older(source) else "cold"

    def prepare(self, system: System, shape: Shape, progress: Progress = silent) -> Preparation:
        """Make a warm template for machines of this shape if there is none."""
        template, made = self._template(system, shape, progress)
        return Preparation(template.source.accelerator, template.cold_boot_ms, reused=not made)

    def start(self, request: StartRequest, progress: Progress = silent) -> Identity:
        """Start a machine as a clone of a template; return when it accepts commands.

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
        # The template is damaged, or was removed a moment ago: `_template` makes a fresh one.
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
        """End booting machines and remove scratch folders of processes that were killed while they made something."""
        self._templates.remove_leftovers()
        for name in ("disks", "initramfs"):
            for scratch in abandoned_scratch(self._cache / name):
                shutil.rmtree(scratch, ignore_errors=True)

    def prune_templates(self) -> int:
        """Remove the templates that no machine uses; return the number of bytes freed."""
        return self._templates.prune()

    def template_bytes(self) -> int:
        """Return how many bytes the templates occupy on the disk."""
        return self._templates.held_bytes()

    @contextmanager
    def connect(
        self, sockets: Path, *, deadline_seconds: float = 10.0, long_running: bool = False
    ) -> Iterator[GuestConnection]:
        """Connect to a running machine; a command is `long_running`.

        Raises `NoSpace` when the machine is paused because the host's disk is full.
        """
        look = partial(_require_space, MachineSockets(sockets))
        with connected(sockets, deadline_seconds=deadline_seconds, long_running=long_running, on_silence=look) as guest:
            yield guest

    def set_lifetime(self, home: Path, seconds: float) -> None:
        """Let a machine end `seconds` from now; a running one follows within 5 s."""
        set_lifetime(home, seconds)

    def alive(self, identity: Identity) -> bool:
        """Return whether the machine still runs."""
        return alive(identity)

    def kill(self, identity: Identity, sockets: Path) -> None:
        """Kill the machine and wait until no process of it is left; a second call does nothing."""
        processes.kill(identity, MachineSockets(sockets))

    def kill_all(self, home: Path, sockets: Path) -> None:
        """Kill every process of the machine with this home, even if its identity is not known."""
        processes.kill_found(str(home), MachineSockets(sockets))

    def running_below(self, folder: Path) -> list[str]:
        """Return the names of the folders in `folder` that are the home of a running machine, removed ones included."""
        return list(processes.machines_below(str(folder)))

    def add_layer(self, home: Path, name: str) -> None:
        """Make an empty layer in the machine's home."""
        DiskLayers(home).add(name, blank_disks(self._cache))

    def is_layer_empty(self, home: Path, name: str) -> bool:
        """Return whether nothing was ever written to a layer of a machine that does not run."""
        return DiskLayers(home).is_empty(name, blank_disks(self._cache))

    def merge_layers(self, home: Path, sockets: Path, layers: Sequence[str]) -> None:
        """Merge layers of a running machine's disk now, so that one may be added; `layers` are those in its record.

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
        """Freeze a running machine's disk as it is now; from then on the machine writes to the layer `name`.

        `layers` are those in its record. Returns those that are now frozen, lowest first: fewer when some were merged.
        The guest's file system is flushed and stands still meanwhile (some 10 ms).
        """
        files = DiskLayers(home)
        with self.connect(sockets) as guest, monitor(MachineSockets(sockets).monitor, deadline_seconds=60) as qmp:
            frozen = layer_merge.finish_merge(qmp, layers, wait=False)
            qmp.execute("blockdev-add", **layer_node(name, f"{command_line.LIVE}/{name}"), backing=None)
            # This also flushes the layer that was written, so what was merged into it is on the disk.
            while_frozen(guest, lambda: qmp.execute("blockdev-snapshot", node=frozen[-1], overlay=name))
            if len(frozen) > layer_merge.MERGE_ABOVE and _fits(files, sizes := files.sizes(frozen)):
                with suppress(GuestFailed):  # the next snapshot tries again
                    layer_merge.start_merge(qmp, (*frozen, name), sizes)
        return frozen

    def power_off(
        self, identity: Identity, sockets: Path, when_flushed: Callable[[], object], progress: Progress = silent
    ) -> None:
        """Flush the machine's disk, call `when_flushed`, and end it.

        Raises, and leaves it running, when its disk cannot be flushed or `when_flushed` raises. A flush may take any
        time while the guest sends ALIVE.
        """
        try:
            with self.connect(sockets, deadline_seconds=_POWER_OFF_SILENCE) as guest:
                for pause in (False, True):  # first while programs run, then with all of them stopped
                    guest.flush(
                        deadline_seconds=_FLUSH_DEADLINE,
                        silence_seconds=_POWER_OFF_SILENCE,
                        pause=pause,
                        on_unwritten=lambda left: progress(f"writing the disk: {left / 1024**2:.0f} MiB left", None),
                    )
                when_flushed()
                # From here on nothing can be lost.
                with suppress(PyroError):
                    guest.power_off(deadline_seconds=_POWER_OFF_SILENCE)
                    processes.wait_for_end(identity, MachineSockets(sockets), deadline_seconds=_POWER_OFF_DEADLINE)
                self.kill(identity, sockets)
        except (GuestGone, GuestFailed, DeadlineExceeded, ProtocolViolation, Busy) as error:
            if alive(identity):
                message = f"the machine still runs, because its disk could not be flushed: {error.message}"
                raise type(error)(message, hint=_FORCE) from error
            self.kill(identity, sockets)

    def _template(self, system: System, shape: Shape, progress: Progress) -> tuple[Template, bool]:
        """Return a template and whether it was made now. If KVM does not boot it, emulation is used from then on."""
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
    binds = source.binds(layers, request.baseline)
    binds += [Bind(template.ram, command_line.RAM), Bind(_READONLY_RAM, command_line.READONLY_RAM)]
    ids = machine_ids(request.home)
    if request.output is not None:
        give_to_machine(ids, request.output)
        binds.append(Bind(request.output, command_line.OUTPUT, writable=True))
    set_lifetime(request.home, request.lifetime_seconds)
    limits = qemu_limits(request.shape.mem_mib, 2 * DISK_BYTES, deadline_file(request.home))

    def argv(fds: list[int]) -> list[str]:
        program = require_program("qemu-system-x86_64")
        output = request.output is not None
        words = qemu_argv(
            program, request.shape, source.accelerator, fds, request.layers, booting=False, output=output, tap=tap
        )
        user = ids.machine if ids else None
        kvm = source.accelerator == "kvm"
        return caged_qemu(words, binds, limits, user=user, kvm=kvm, preload=command_line.READONLY_RAM)

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
    """Resume a machine that QEMU paused because it could not write its disk; return whether it was paused.

    Raises `NoSpace` while the disk is full. With little space the machine stays paused: it would use up the space
    that is needed to inspect and delete machines.
    """
    try:
        with monitor(sockets.monitor, deadline_seconds=_QUESTION_DEADLINE) as qmp:
            if qmp.execute("query-status")["status"] != "io-error":
                return False
            # The layers of its disk are on the same file system as the sockets.
            if shutil.disk_usage(sockets.folder).free >= _ROOM_BYTES:
                qmp.execute("cont")
                return True
    except (
        DeadlineExceeded,
        GuestFailed,
    ):  # another client uses the monitor, or it cannot say; the caller has a deadline
        return False
    raise NoSpace(
        "the host's disk is full, so the machine was paused in the middle of a write",
        hint=Hint(
            "free some space where the state folder is ({} shows it); the next command resumes it", Verb("doctor")
        ),
    )


def _fits(files: DiskLayers, sizes: Sequence[int]) -> bool:
    """Return whether there is enough space to merge layers of these sizes."""
    return files.has_space(sum(sizes[layer_merge.lowest_to_merge(sizes) :]))


class _BadTemplate(GuestFailed):
    """A machine could not resume from its template."""


def _resume(template: Template, sockets: MachineSockets) -> None:
    """Load the template's state and resume the machine. Raises `_BadTemplate`."""
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
