"""Spare machines: each was booted in the background, and waits to become a machine that somebody asks for.

A spare is a folder below `spares` with a running machine that has no disk, no name and no entropy of its own, and that
has run nobody's code. Whoever makes, takes or removes it holds its lock, which the kernel releases when the process
dies. `record.json` is there only while the spare may be taken: it is written last and removed first, so a folder
without one, whose lock is free, was left by a dead process. A spare also ends by itself, at the end of its lifetime.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pyro_mcp.engine import Engine, Shape, Started, StartRequest, System
from pyro_mcp.errors import Busy, InvalidRequest, PyroError
from pyro_mcp.host.files import locked, private_directory, write_atomic
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.host.user_ids import release_ids

VARIABLE = "PYRO_SPARES"
"""The environment variable with the seconds that a spare lives; 0 for none."""
_LIFETIME_SECONDS = 600.0
_MOST_SPARES = 4
_RECORD = "record.json"
# One that is about to end is not taken.
_LEAST_SECONDS_LEFT = 5.0
_PATIENCE_SECONDS = 60.0
_LEAST_MEMORY_KIB = 1024**2
_MEMORY_INFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Order:
    """What a spare is made from: an environment's image, the shape of a machine without network, the accelerator."""

    environment: str
    root_digest: str
    vcpu_count: int
    mem_mib: int
    accelerator: str

    def __str__(self) -> str:
        return f"{self.environment}, {self.vcpu_count} vCPU, {self.mem_mib} MiB"

    @property
    def shape(self) -> Shape:
        return Shape(self.vcpu_count, self.mem_mib)


@dataclass(frozen=True)
class Spare:
    """A spare that may be taken: `key` is that of `Engine.spare_key`, `ends_at` is in seconds since the host's boot."""

    key: str
    order: Order
    ends_at: float
    started: Started

    @property
    def seconds_left(self) -> float:
        return self.ends_at - _uptime()


class Spares:
    """The spare machines of one state folder. All state is in files, so any number of processes may have an instance.

    `folder` is their folder. `maker` is the command that makes one in the background, followed by the order; without
    one nothing is made in the background.
    """

    def __init__(self, folder: Path, maker: Sequence[str] = ()) -> None:
        self._folder = folder
        self._maker = maker

    def start(self, engine: Engine, request: StartRequest, order: Order, progress: Progress = silent) -> Started:
        """Start a machine: from a spare if there is one, else from the beginning; then let another spare be made.

        A spare that does not become the machine is ended. Raises what `Engine.start` raises.
        """
        key = engine.spare_key(request) if spare_lifetime_seconds() > 0 else None
        if key is None:
            return engine.start(request, progress)
        private_directory(self._folder)
        with ExitStack() as stack:
            with suppress(Busy):  # a maker looks whether it may begin
                stack.enter_context(locked(self._starting, deadline_seconds=0, shared=True))
            started = self._claim(engine, key, request) or engine.start(request, progress)
        self._replenish(key, order)
        return started

    def make(self, engine: Engine, system: System, order: Order, starter: Executor) -> None:
        """Make a spare, unless there is one or memory is short; waits until no other machine is being started.

        A thread of `starter` starts it, and its processes inherit the priority of that thread. If this raises, nothing
        is left of the spare. It does not make the folder of the spares again if that was removed meanwhile.
        """
        id_ = f"sp-{secrets.token_hex(6)}"
        seconds, home = spare_lifetime_seconds(), self._folder / id_
        request = StartRequest(
            system=system,
            shape=order.shape,
            home=home,
            sockets=home / "sockets",
            hostname="spare",
            lifetime_seconds=seconds,
            layers=(),
            accelerator=order.accelerator,
        )
        key = engine.spare_key(request)
        with locked(self._starting, deadline_seconds=_PATIENCE_SECONDS):
            pass
        if seconds <= 0 or key is None or self._has(key) or not has_memory(order.mem_mib):
            return
        self._make_room(engine, order)
        with locked(self._lock(id_), deadline_seconds=_PATIENCE_SECONDS):
            try:
                private_directory(home, parents=False)
                ends_at = _uptime() + seconds
                started = starter.submit(engine.start, request, silent).result()
                try:
                    self._write(id_, Spare(key, order, ends_at, started))
                except BaseException:
                    engine.kill(started.identity, request.sockets)
                    raise
            except BaseException:
                self._remove(id_, engine)
                raise

    def listed(self, engine: Engine) -> list[Spare]:
        """Return the spares that may be taken now."""
        found = (self._read(id_) for id_ in self._ids())
        return [spare for spare in found if spare is not None and _is_usable(spare, engine)]

    def failure(self) -> str:
        """Return what went wrong since somebody last began to make a spare, "" for nothing."""
        try:
            return self._log.read_text(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def remove_leftovers(self, engine: Engine, *, everything: bool = False) -> None:
        """Remove what dead processes have left, and spares that have ended; with `everything` all that are not in use.

        Where memory is short, all go.
        """
        ids = self._ids()
        everything = everything or bool(ids and not has_memory(0))
        for id_ in ids:
            # Not locked to look: who wants to take it at that moment would find it taken.
            if everything or not self._can_be_taken(id_, engine):
                with suppress(Busy), locked(self._lock(id_), deadline_seconds=0):
                    if everything or not self._can_be_taken(id_, engine):
                        self._remove(id_, engine)

    def _claim(self, engine: Engine, key: str, request: StartRequest) -> Started | None:
        """Let a spare become the machine of `request`; return None when there is none, or it fails."""
        with self._taken(engine, key) as taken:
            if taken is None:
                return None
            home, spare = taken
            # Whatever is wrong with it, a start from the beginning shows whether it is the request.
            try:
                engine.claim(home, spare.started.identity, request)
                return spare.started
            except (PyroError, OSError) as error:
                self._log.write_text(f"a spare could not be used: {error}\n")
        return None

    @contextmanager
    def _taken(self, engine: Engine, key: str) -> Iterator[tuple[Path, Spare] | None]:
        """Lock a spare and keep all others from taking it; what is left of it after the block is removed."""
        with ExitStack() as stack:
            attempts = (self._take(id_, engine, key, stack) for id_ in self._ids())
            yield next((taken for taken in attempts if taken is not None), None)

    def _take(self, id_: str, engine: Engine, key: str, stack: ExitStack) -> tuple[Path, Spare] | None:
        known = self._read(id_)
        if known is None or known.key != key:
            return None
        with ExitStack() as attempt:
            try:
                attempt.enter_context(locked(self._lock(id_), deadline_seconds=0))
            except Busy:
                return None
            attempt.callback(self._remove, id_, engine)
            spare = self._read(id_)
            if spare is None or not _is_usable(spare, engine):
                return None
            (self._folder / id_ / _RECORD).unlink()
            stack.enter_context(attempt.pop_all())
            return self._folder / id_, spare

    def _replenish(self, key: str, order: Order) -> None:
        """Let a process of its own make a spare, unless one is there or is being made, or memory is short."""
        if not self._maker or self._has(key) or not has_memory(order.mem_mib):
            return
        with suppress(Busy), locked(self._making, deadline_seconds=0) as lock, open(self._log, "wb") as log:
            process = subprocess.Popen(
                [*self._maker, json.dumps(asdict(order))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock],  # so it is held as long as the maker lives
                cwd="/",
            )
            process.returncode = 0  # it outlives us by design; Popen would warn of it when collected

    def _make_room(self, engine: Engine, order: Order) -> None:
        """Remove outdated spares of the same order, and the oldest of the others, until there is room for one."""
        kept = 0
        for id_ in reversed(self._by_age()):
            with suppress(Busy), locked(self._lock(id_), deadline_seconds=0):
                spare = self._read(id_)
                kept += 1
                if spare is None or spare.order == order or kept >= _MOST_SPARES:
                    kept -= 1
                    self._remove(id_, engine)

    def _can_be_taken(self, id_: str, engine: Engine) -> bool:
        spare = self._read(id_)
        return spare is not None and _is_usable(spare, engine)

    def _by_age(self) -> list[str]:
        known = {id_: spare for id_ in self._ids() if (spare := self._read(id_)) is not None}
        return sorted(known, key=lambda id_: known[id_].ends_at)

    def _has(self, key: str) -> bool:
        found = (self._read(id_) for id_ in self._ids())
        return any(
            spare is not None and spare.key == key and spare.seconds_left > _LEAST_SECONDS_LEFT for spare in found
        )

    def _remove(self, id_: str, engine: Engine) -> None:
        """Remove a locked spare; its processes too, unless they are a machine's by now."""
        home = self._folder / id_
        (home / _RECORD).unlink(missing_ok=True)
        if (sockets := home / "sockets").exists():
            engine.kill_all(home, sockets)
        release_ids(home)
        shutil.rmtree(home, ignore_errors=True)
        self._lock(id_).unlink(missing_ok=True)

    def _ids(self) -> list[str]:
        """Return the names of all spares, also of those that have only a lock file."""
        try:
            return sorted({name.split(".")[0] for name in os.listdir(self._folder) if not name.startswith(".")})
        except FileNotFoundError:
            return []

    def _read(self, id_: str) -> Spare | None:
        try:
            known = json.loads((self._folder / id_ / _RECORD).read_bytes())
            identity = Identity(*(int(known["started"]["identity"][part]) for part in ("pid", "start_time")))
            started = Started(identity, str(known["started"]["accelerator"]))
            return Spare(str(known["key"]), Order(**known["order"]), float(known["ends_at"]), started)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, id_: str, spare: Spare) -> None:
        write_atomic(self._folder / id_ / _RECORD, json.dumps(asdict(spare)), parents=False)

    def _lock(self, id_: str) -> Path:
        return self._folder / f"{id_}.lock"

    @property
    def _starting(self) -> Path:
        """The lock that everybody shares who starts a machine."""
        return self._folder / ".starting"

    @property
    def _log(self) -> Path:
        return self._folder / ".log"

    @property
    def _making(self) -> Path:
        """The lock of the process that makes a spare."""
        return self._folder / ".making"


def spare_lifetime_seconds() -> float:
    """Return how long a spare lives, 0 when there are to be none; raises `InvalidRequest`."""
    given = os.environ.get(VARIABLE, "")
    try:
        seconds = float(given) if given else _LIFETIME_SECONDS
        if 0 <= seconds <= 24 * 3600:
            return seconds
    except ValueError:
        pass
    raise InvalidRequest(
        f"{VARIABLE} is the number of seconds that a spare machine lives, not {given!r}",
        hint=f"{VARIABLE}=0 turns spare machines off",
    )


def has_memory(mem_mib: int) -> bool:
    """Return whether the host has memory for a spare whose guest may come to use `mem_mib` MiB.

    A fifth of the memory, and 1 GiB, must stay free: proc(5), MemAvailable.
    """
    lines = (line.split() for line in _MEMORY_INFO.read_text().splitlines())
    kib = {words[0]: int(words[1]) for words in lines if len(words) >= 2 and words[1].isdigit()}
    total, available = kib.get("MemTotal:", 0), kib.get("MemAvailable:", 0)
    return available - mem_mib * 1024 >= max(total // 5, _LEAST_MEMORY_KIB)


def _is_usable(spare: Spare, engine: Engine) -> bool:
    return spare.seconds_left > _LEAST_SECONDS_LEFT and engine.alive(spare.started.identity)


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
