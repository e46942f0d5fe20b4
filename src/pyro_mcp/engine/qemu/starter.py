"""Start machines under QEMU, with KVM or by emulation (TCG): each is a clone of a warm template."""

from __future__ import annotations

from pathlib import Path

from pyro_mcp.engine import processes
from pyro_mcp.engine.cage import Bind
from pyro_mcp.engine.disks import DISK_BYTES, blank_disks
from pyro_mcp.engine.initramfs import initramfs
from pyro_mcp.engine.interface import Preparation, Shape, StartRequest, System, TemplateState
from pyro_mcp.engine.lifetime import guarded_file, set_lifetime
from pyro_mcp.engine.panic import MACHINE_LOG
from pyro_mcp.engine.qemu import command_line
from pyro_mcp.engine.qemu.command_line import qemu_argv
from pyro_mcp.engine.qemu.disk_files import prepare_disks
from pyro_mcp.engine.qemu.qemu_cage import caged_qemu, qemu_limits
from pyro_mcp.engine.qemu.qmp import monitor
from pyro_mcp.engine.qemu.templates import Template, Templates, TemplateSource
from pyro_mcp.engine.slots import connected
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.engine.starter import NotBooted
from pyro_mcp.errors import DeadlineExceeded, GuestFailed, PyroError
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.progress import Progress
from pyro_mcp.host.user_ids import machine_ids

_RESUME_DEADLINE = 60.0
# Makes QEMU open a template's memory read-only: see cage/readonly_ram.c.
_READONLY_RAM = Path(__file__).parents[1] / "readonly-ram.so"


class QemuStarter:
    """Implements `Starter` for "kvm" and "tcg" with caged QEMU."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._templates = Templates(cache)

    def template_state(self, system: System, shape: Shape, accelerator: str) -> TemplateState:
        source = self._source(system, shape, accelerator)
        if self._templates.find(source) is not None:
            return "warm"
        return "stale" if self._templates.older(source) else "cold"

    def prepare(self, system: System, shape: Shape, accelerator: str, progress: Progress) -> Preparation:
        """Make a warm template for machines of this shape if there is none."""
        template, made = self._template(self._source(system, shape, accelerator), progress)
        return Preparation(accelerator, template.cold_boot_ms, reused=not made)

    def start(self, request: StartRequest, system: System, progress: Progress) -> Identity:
        """Start a machine as a clone of a template; return when it accepts commands."""
        source = self._source(system, request.shape, request.accelerator)
        template, _ = self._template(source, progress)
        try:
            with template.in_use():
                return _clone(template, request)
        except (_BadTemplate, FileNotFoundError) as error:
            if self._templates.find(source) is not None:
                return self._on_another(template, request, progress, error)
        # The template is damaged, or was removed a moment ago: `_template` makes a fresh one.
        template, _ = self._template(source, progress)
        with template.in_use():
            return _clone(template, request)

    def _on_another(self, template: Template, request: StartRequest, progress: Progress, error: Exception) -> Identity:
        """Start on a fresh template, which replaces `template` if that works; else raise `error`, the first failure."""
        try:
            with self._templates.anew(template, progress) as fresh:
                return _clone(fresh, request)
        except (PyroError, OSError):
            raise error from None

    def spare_key(self, system: System, shape: Shape, accelerator: str) -> str:
        return self._source(system, shape, accelerator).key()

    def remove_leftovers(self) -> None:
        self._templates.remove_leftovers()

    def prune_templates(self) -> int:
        return self._templates.prune()

    def template_bytes(self) -> int:
        return self._templates.held_bytes()

    def _template(self, source: TemplateSource, progress: Progress) -> tuple[Template, bool]:
        """Return a template and whether it was made now. Raises `NotBooted`."""
        try:
            return self._templates.ensure(source, progress)
        except (GuestFailed, DeadlineExceeded) as error:
            raise NotBooted(error.message, hint=error.hint) from error

    def _source(self, system: System, shape: Shape, accelerator: str) -> TemplateSource:
        return TemplateSource(system, shape, initramfs(system, self._cache), blank_disks(self._cache), accelerator)


def _clone(template: Template, request: StartRequest) -> Identity:
    source = template.source
    binds = [
        *source.boot_files,
        *prepare_disks(request, source.system.root, source.blank),
        Bind(template.ram, command_line.RAM),
        Bind(_READONLY_RAM, command_line.READONLY_RAM),
    ]
    ids = machine_ids(request.home)
    set_lifetime(request.home, request.lifetime_seconds)
    limits = qemu_limits(request.shape.mem_mib, 2 * DISK_BYTES, guarded_file(request.home, is_spare=request.is_spare))

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
    log = request.home / MACHINE_LOG
    tap = request.tap()
    with processes.launched(argv, sockets, log, tap) as identity:
        _resume(template, sockets)
        if not request.is_spare:
            with connected(sockets.folder) as guest:
                guest.setup(hostname=request.hostname, files=request.files, generation=request.generation)
    return identity


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
