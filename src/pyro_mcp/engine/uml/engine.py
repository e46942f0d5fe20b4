"""Starting machines whose kernel is a process: each boots, in about as long as a template takes to resume."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pyro_mcp.engine import processes
from pyro_mcp.engine.cage import Bind, cage
from pyro_mcp.engine.disks import DiskLayers, blank_disks, give_to_machine
from pyro_mcp.engine.initramfs import initramfs
from pyro_mcp.engine.interface import Accelerator, Preparation, Shape, StartRequest, System, TemplateState
from pyro_mcp.engine.lifetime import GUARD, deadline_file, set_lifetime
from pyro_mcp.engine.qemu import OUTPUT, QemuEngine, disk_binds, storage_filter
from pyro_mcp.engine.slots import connected
from pyro_mcp.engine.uml.cage import devices_cage, kernel_cage, storage_limits
from pyro_mcp.engine.uml.programs import KERNEL_FILE, Descriptors, UmlSockets, devices_argv, disks_argv, kernel_argv
from pyro_mcp.errors import HostNotReady, InvalidRequest, PyroError
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.host.user_ids import UserIds, machine_ids

_BOOT_DEADLINE = 60.0
_LOG_KEPT = 2000


def choose_engine(cache: Path) -> QemuEngine:
    """The engine for new machines. Either one reaches, changes and ends those that the other started."""
    return UmlEngine(cache) if os.environ.get("PYRO_ACCELERATOR") == "uml" else QemuEngine(cache)


class UmlEngine(QemuEngine):
    """An engine that starts User-Mode Linux; its disks are QEMU's, so what is done to a running machine is the same."""

    def accelerator(self) -> Accelerator:
        """What runs machines here, and why."""
        return Accelerator("uml", "PYRO_ACCELERATOR=uml is set")

    def template_state(self, system: System, shape: Shape) -> TemplateState:
        """Always warm: a boot needs no template."""
        return "warm"

    def prepare(self, system: System, shape: Shape, progress: Progress = silent) -> Preparation:
        """Make what a boot needs, which is not made for each shape."""
        self._parts_of(system)
        return Preparation("uml", 0.0, reused=True)

    def start(self, request: StartRequest, progress: Progress = silent) -> Identity:
        """Start a machine and make it one of its own; returns when it takes commands.

        Nothing is left running when this raises.
        """
        if request.system is None:
            raise InvalidRequest("a virtual machine needs an environment to boot from")
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2
        if request.shape.mem_mib > total:
            raise InvalidRequest(f"this host has {total} MiB of memory; a machine cannot have {request.shape.mem_mib}")
        first_files = self._parts_of(request.system)
        return _start(request, self._disk_binds(request, request.system), first_files)

    def _parts_of(self, system: System) -> Path:
        if not KERNEL_FILE.exists():
            raise HostNotReady(
                f"the kernel {KERNEL_FILE} has not been built", hint="in a source checkout run: make uml-kernel"
            )
        require_program("qemu-storage-daemon")
        return initramfs(replace(system, kernel_digest="", modules=()), self._cache)

    def _disk_binds(self, request: StartRequest, system: System) -> list[Bind]:
        blank, layers = blank_disks(self._cache), DiskLayers(request.home)
        layers.prepare(request.layers, blank, new_disk=request.new_disk)
        binds = disk_binds(system.root, blank, layers, request.baseline)
        if request.output is not None:
            give_to_machine(machine_ids(request.home), request.output)
            binds.append(Bind(request.output, OUTPUT, writable=True))
        return binds


def _start(request: StartRequest, disks: list[Bind], first_files: Path) -> Identity:
    ids = machine_ids(request.home)
    sockets = UmlSockets(request.sockets, output=request.output is not None, network=request.shape.network)
    deadline = deadline_file(request.home)
    set_lifetime(request.home, request.lifetime_seconds)
    tap = request.tap()
    _make_folder(sockets, ids)

    def argv(numbers: list[int]) -> list[str]:
        _let_connect(sockets, ids)
        fds, mem_mib, user = Descriptors(sockets, numbers, tap), request.shape.mem_mib, ids.machine if ids else None
        storage = disks_argv(require_program("qemu-storage-daemon"), request.layers, sockets, fds)
        limits = storage_limits(len(sockets.disks), mem_mib, deadline)
        return [
            str(GUARD), "--signal=KILL", str(deadline),
            *cage(storage, disks, limits, call_filter=storage_filter(), user=user, keep=fds.of_disks), "--and",
            *devices_cage(devices_argv(fds), mem_mib, fds.of_devices, user), "--and",
            *kernel_cage(
                kernel_argv(request.shape, sockets), first_files, sockets.vhost, mem_mib=mem_mib, user=user
            ),
        ]  # fmt: skip

    log = request.home / "machine.log"
    identity = processes.launch(argv, sockets, log, tap)
    try:
        with connected(sockets.folder) as guest:
            guest.hello(deadline_seconds=_BOOT_DEADLINE)
            guest.setup(hostname=request.hostname, files=request.files, generation=request.generation)
    except BaseException as error:
        processes.kill(identity, sockets)
        if isinstance(error, PyroError) and (said := log.read_text(errors="replace").strip()):
            raise type(error)(f"{error.message}\nThe machine said: {said[-_LOG_KEPT:]}", hint=error.hint) from error
        raise
    return identity


def _make_folder(sockets: UmlSockets, ids: UserIds | None) -> None:
    private_directory(sockets.folder)
    sockets.vhost.mkdir(exist_ok=True)
    # The folder above is ours alone; within the cage the machine's own user must pass.
    sockets.vhost.chmod(0o711 if ids else 0o700)


def _let_connect(sockets: UmlSockets, ids: UserIds | None) -> None:
    """Let the machine's own user connect to the sockets of its devices."""
    if ids is not None:
        for name in sockets.devices:
            os.chown(sockets.vhost / name, ids.machine, ids.machine)
