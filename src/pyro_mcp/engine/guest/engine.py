"""The engine of machines with a guest: what is the same on every accelerator."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TypeVar

from pyro_mcp.engine import processes
from pyro_mcp.engine.accelerators import AUTO, requested
from pyro_mcp.engine.cage import CONFINE
from pyro_mcp.engine.disks import DiskLayers, blank_disks
from pyro_mcp.engine.guest.choice import Choice
from pyro_mcp.engine.guest.spare import become_machine
from pyro_mcp.engine.guest_connection import GuestConnection
from pyro_mcp.engine.interface import Accelerator, Preparation, Shape, Started, StartRequest, System, TemplateState
from pyro_mcp.engine.lifetime import GUARD, set_lifetime
from pyro_mcp.engine.panic import panic_in
from pyro_mcp.engine.qemu import QemuStarter, merge_layers, resume_if_full, switch_layer
from pyro_mcp.engine.slots import connected
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.engine.starter import NotBooted, Starter
from pyro_mcp.errors import (
    Busy,
    DeadlineExceeded,
    GuestFailed,
    GuestGone,
    InvalidRequest,
    ProtocolViolation,
    PyroError,
)
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import abandoned_scratch, file_version
from pyro_mcp.host.process_identity import Identity, alive
from pyro_mcp.host.progress import Progress, silent

_Result = TypeVar("_Result")
# The version of how a spare is started and becomes a machine: one of another version is not used.
_SPARE_FORMAT = 1
_POWER_OFF_SILENCE = 2.0
_POWER_OFF_DEADLINE = 5.0
_LAST_WORDS_DEADLINE = 1.0
_FLUSH_DEADLINE = 600.0
_FORCE = Hint(
    "try again; {} ends it without a flush: file writes, patches, pushes and snapshots stay, but what commands wrote "
    "in the last seconds may be lost",
    Verb("workspace stop", force=True),
)


class GuestEngine:
    """Implements `Engine`. All state is in files, so any number of processes may have an instance.

    A `Starter` starts a machine on its accelerator. A running machine has the same sockets, disks and monitor on each.
    """

    execution_mode = "guest_virtio"

    def __init__(self, cache: Path, choice: Choice | None = None) -> None:
        self._cache = cache
        self._choice = choice or Choice(cache)

    def accelerator(self, wish: str = "") -> Accelerator:
        """Return the accelerator on which a start with this wish would run here, and why."""
        return self._choice.choose(wish)

    def accelerator_fault(self, name: str) -> str:
        """Return why an accelerator does not work on this host, as a clause; "" if it does."""
        return self._choice.fault(name)

    def template_state(self, system: System, shape: Shape, accelerator: str = "") -> TemplateState:
        """Return whether a start would find a template."""
        chosen = self.accelerator(accelerator).name
        return self._starter(chosen).template_state(system, shape, chosen)

    def prepare(self, system: System, shape: Shape, progress: Progress = silent, accelerator: str = "") -> Preparation:
        """Make what starts of this shape need."""
        _require_memory(shape)
        return self._on_chosen(accelerator, lambda starter, name: starter.prepare(system, shape, name, progress))

    def start(self, request: StartRequest, progress: Progress = silent) -> Started:
        """Start a machine; return when it accepts commands.

        Nothing is left running when this raises.
        """
        if request.system is None:
            raise InvalidRequest("a virtual machine needs an environment to boot from")
        _require_memory(request.shape)
        system, tap = request.system, cache(request.tap)

        def start(starter: Starter, name: str) -> Started:
            return Started(starter.start(replace(request, accelerator=name, tap=tap), system, progress), name)

        return self._on_chosen(request.accelerator, start)

    def spare_key(self, request: StartRequest) -> str | None:
        """Return a digest of all that shapes a spare; None for a machine with a network or an output."""
        if request.system is None or request.shape.network or request.output is not None:
            return None
        chosen = self.accelerator(request.accelerator).name
        key = self._starter(chosen).spare_key(request.system, request.shape, chosen)
        ingredients = [_SPARE_FORMAT, chosen, key, file_version(CONFINE), file_version(GUARD)]
        return hashlib.sha256(json.dumps(ingredients).encode()).hexdigest()[:32]

    def claim(self, spare: Path, identity: Identity, request: StartRequest) -> None:
        """Let a spare become the machine of `request`; return when it accepts commands."""
        become_machine(spare, identity, request, blank_disks(self._cache))

    def remove_leftovers(self) -> None:
        """End booting machines and remove scratch folders of processes that were killed while they made something."""
        self._qemu.remove_leftovers()
        for name in ("disks", "initramfs"):
            for scratch in abandoned_scratch(self._cache / name):
                shutil.rmtree(scratch, ignore_errors=True)

    def prune_templates(self) -> int:
        """Remove the templates that no machine uses; return the number of bytes freed."""
        return self._qemu.prune_templates()

    def template_bytes(self) -> int:
        """Return how many bytes the templates occupy on the disk."""
        return self._qemu.template_bytes()

    def panic(self, home: Path, sockets: Path, identity: Identity) -> str:
        """Return why the guest's kernel ended the machine; "" when its console was not kept, as under QEMU."""
        # The guest's connections break a moment before the last of its log is written.
        ended = processes.wait_for_end(identity, MachineSockets(sockets), deadline_seconds=_LAST_WORDS_DEADLINE)
        return panic_in(home) if ended else ""

    @contextmanager
    def connect(
        self, sockets: Path, *, deadline_seconds: float = 10.0, long_running: bool = False
    ) -> Iterator[GuestConnection]:
        """Connect to a running machine; a command is `long_running`.

        Raises `NoSpace` when the machine is paused because the host's disk is full.
        """
        look = partial(resume_if_full, MachineSockets(sockets))
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
        merge_layers(DiskLayers(home), MachineSockets(sockets), layers)

    def switch_layer(self, home: Path, sockets: Path, layers: Sequence[str], name: str) -> tuple[str, ...]:
        """Freeze a running machine's disk as it is now; from then on the machine writes to the layer `name`.

        `layers` are those in its record. Returns those that are now frozen, lowest first: fewer when some were merged.
        The guest's file system is flushed and stands still meanwhile (some 10 ms).
        """
        with self.connect(sockets) as guest:
            return switch_layer(DiskLayers(home), MachineSockets(sockets), guest, layers, name)

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

    @cached_property
    def _qemu(self) -> QemuStarter:
        return QemuStarter(self._cache)

    @cached_property
    def _uml(self) -> Starter:
        from pyro_mcp.engine.uml import UmlStarter  # noqa: PLC0415 - few processes start such a machine

        return UmlStarter(self._cache)

    def _starter(self, accelerator: str) -> Starter:
        return self._uml if accelerator == "uml" else self._qemu

    def _on_chosen(self, wish: str, step: Callable[[Starter, str], _Result]) -> _Result:
        """Return the result of `step` on the chosen accelerator.

        One that was not requested and does not boot is replaced by the next one, which is then used from now on.
        """
        chosen = self.accelerator(wish)
        try:
            return step(self._starter(chosen.name), chosen.name)
        except NotBooted as error:
            if requested(wish) != AUTO or chosen.name == "tcg":
                raise
            self._choice.remember_no_boot(chosen.name, error)
            try:
                return self._on_chosen(wish, step)
            except NotBooted:  # the fault is not the accelerator's
                self._choice.forget(chosen.name)
                raise error from None


def _require_memory(shape: Shape) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2
    if shape.mem_mib > total:
        raise InvalidRequest(f"this host has {total} MiB of memory; a machine cannot have {shape.mem_mib}")
