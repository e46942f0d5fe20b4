"""Start machines whose kernel is a process: each boots, in about as long as a template takes to resume."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from pyro_mcp.engine import processes
from pyro_mcp.engine.cage import Bind, cage
from pyro_mcp.engine.disks import blank_disks
from pyro_mcp.engine.initramfs import initramfs
from pyro_mcp.engine.interface import Preparation, Shape, StartRequest, System, TemplateState
from pyro_mcp.engine.lifetime import GUARD, guarded_file, set_lifetime
from pyro_mcp.engine.panic import MACHINE_LOG
from pyro_mcp.engine.qemu import disk_nodes, prepare_disks, storage_filter
from pyro_mcp.engine.slots import connected
from pyro_mcp.engine.starter import NotBooted
from pyro_mcp.engine.uml.cage import devices_cage, group_bounds, kernel_cage, storage_limits
from pyro_mcp.engine.uml.programs import (
    DEVICES_FILE,
    KERNEL_FILE,
    WAIT_FOR_SPACE,
    WAIT_FOR_SPACE_FILE,
    WAITING,
    Descriptors,
    UmlSockets,
    devices_argv,
    disks_argv,
    kernel_argv,
)
from pyro_mcp.errors import DeadlineExceeded, GuestFailed, HostNotReady
from pyro_mcp.host.control_groups import make_group
from pyro_mcp.host.files import file_version, private_directory
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.progress import Progress
from pyro_mcp.host.user_ids import UserIds, machine_ids

_BOOT_DEADLINE = 60.0


class UmlStarter:
    """Implements `Starter` for "uml". The disks are QEMU's, so what is done to a running machine is the same."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def template_state(self, system: System, shape: Shape, accelerator: str) -> TemplateState:
        return "warm"

    def prepare(self, system: System, shape: Shape, accelerator: str, progress: Progress) -> Preparation:
        """Make what a boot needs, which is the same for every shape."""
        self._first_files(system)
        return Preparation(accelerator, 0.0, reused=True)

    def start(self, request: StartRequest, system: System, progress: Progress) -> Identity:
        """Boot a machine; return when it accepts commands."""
        first_files = self._first_files(system)
        disks = prepare_disks(request, system.root, blank_disks(self._cache))
        return _start(request, disks, first_files)

    def spare_key(self, system: System, shape: Shape, accelerator: str) -> str:
        sockets = UmlSockets(Path(), network=shape.network)
        programs = (KERNEL_FILE, DEVICES_FILE, WAIT_FOR_SPACE_FILE, require_program("qemu-storage-daemon"))
        ingredients = [
            kernel_argv(shape, sockets), disk_nodes((), output=False), system.root_digest,
            self._first_files(system).parent.name, str(blank_disks(self._cache).ext4),
            [file_version(program) for program in programs],
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(ingredients).encode()).hexdigest()[:32]

    def remove_leftovers(self) -> None:
        pass  # there are no templates

    def prune_templates(self) -> int:
        return 0

    def template_bytes(self) -> int:
        return 0

    def _first_files(self, system: System) -> Path:
        """Return the initramfs. Raises `HostNotReady`, `HostToolMissing` when something else is missing."""
        if not KERNEL_FILE.exists():
            raise HostNotReady(
                f"the kernel {KERNEL_FILE} has not been built", hint="in a source checkout run: make uml-kernel"
            )
        require_program("qemu-storage-daemon")
        return initramfs(replace(system, kernel_digest="", modules=()), self._cache)


def _start(request: StartRequest, disks: list[Bind], first_files: Path) -> Identity:
    ids = machine_ids(request.home)
    sockets = UmlSockets(request.sockets, output=request.output is not None, network=request.shape.network)
    deadline = guarded_file(request.home, is_spare=request.is_spare)
    set_lifetime(request.home, request.lifetime_seconds)
    tap = request.tap()
    _make_folder(sockets, ids)
    group = _join_group(sockets, request.shape.mem_mib)
    disks = [*disks, Bind(WAIT_FOR_SPACE_FILE, WAIT_FOR_SPACE), Bind(sockets.waiting, WAITING)]

    def argv(numbers: list[int]) -> list[str]:
        _let_connect(sockets, ids)
        fds, mem_mib, user = Descriptors(sockets, numbers, tap), request.shape.mem_mib, ids.machine if ids else None
        storage = disks_argv(require_program("qemu-storage-daemon"), request.layers, sockets, fds)
        limits = storage_limits(len(sockets.disks), mem_mib, deadline)
        return [
            str(GUARD), "--signal=KILL", str(deadline),
            *cage(
                storage, disks, limits, call_filter=storage_filter(), user=user, preload=WAIT_FOR_SPACE,
                keep=fds.of_disks,
            ), "--and",
            *devices_cage(devices_argv(fds), mem_mib, fds.of_devices, user), "--and",
            *group, "expendable",
            *kernel_cage(
                kernel_argv(request.shape, sockets), first_files, sockets.vhost, mem_mib=mem_mib, user=user,
                fds=[fds.life],
            ),
        ]  # fmt: skip

    log = request.home / MACHINE_LOG
    with processes.launched(argv, sockets, log, tap) as identity, connected(sockets.folder) as guest:
        try:
            guest.hello(deadline_seconds=_BOOT_DEADLINE)
        except (GuestFailed, DeadlineExceeded) as error:
            raise NotBooted(f"the machine did not boot: {error.message}", hint=error.hint) from error
        if not request.is_spare:
            guest.setup(hostname=request.hostname, files=request.files, generation=request.generation)
    return identity


def _make_folder(sockets: UmlSockets, ids: UserIds | None) -> None:
    private_directory(sockets.folder, parents=False)
    sockets.vhost.mkdir(exist_ok=True)
    # The folder above is ours alone; within the cage the machine's own user must pass.
    sockets.vhost.chmod(0o711 if ids else 0o700)
    sockets.waiting.touch()
    sockets.waiting.chmod(0o444)  # a lock for reading is enough


def _join_group(sockets: UmlSockets, mem_mib: int) -> list[str]:
    """Make the kernel's control group and return the words that let it join; none where there is no group."""
    group = make_group(*group_bounds(mem_mib))
    if group is None:
        return []
    sockets.group.write_text(str(group))
    return [f"group={group}"]


def _let_connect(sockets: UmlSockets, ids: UserIds | None) -> None:
    """Let the machine's own user connect to the sockets of its devices."""
    if ids is not None:
        for name in sockets.devices:
            os.chown(sockets.vhost / name, ids.machine, ids.machine)
