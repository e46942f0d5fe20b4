"""An engine without machines, for the tests of everything above an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pyro_mcp.engine.guest_connection import Capture, encode_exec
from pyro_mcp.engine.interface import (
    Accelerator,
    Command,
    Outcome,
    Preparation,
    Shape,
    Started,
    StartRequest,
    System,
    TemplateState,
)
from pyro_mcp.errors import GuestGone
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.progress import Progress, silent

# Above the highest number that the kernel gives to a process: PID_MAX_LIMIT in linux/threads.h.
_FIRST_PID = 4 * 1024 * 1024 + 1

Answer = Callable[[Command], Outcome]


def outcome(exit_code: int = 0, stdout: bytes = b"", stderr: bytes = b"") -> Outcome:
    """Return the outcome of a program that ends at once with this exit code and output."""
    return Outcome(exit_code, stdout, stderr, len(stdout), len(stderr), timed_out=False, signal=None, duration_ms=0.0)


def succeed(_: Command) -> Outcome:
    """Answer every command with exit code 0."""
    return outcome()


class FakeEngine:
    """Implements `Engine` in memory: `answer` decides how each command ends.

    An error in `failures`, under the name of a method of `Engine` or `Session`, is raised by that method before it
    does anything. `started`, `claimed`, `commands` and `ended` (sockets' folders) remember what was asked; `running`
    says what a real engine would have running now.
    """

    execution_mode = "guest_virtio"

    def __init__(self, answer: Answer = succeed) -> None:
        self.answer = answer
        self.failures: dict[str, Exception] = {}
        self.started: list[StartRequest] = []
        self.claimed: list[StartRequest] = []
        self.commands: list[Command] = []
        self.ended: list[Path] = []
        self.running: dict[Path, Identity] = {}
        self.lifetimes: dict[Path, float] = {}
        self._warm: set[tuple[System, Shape]] = set()
        self.panics: dict[Path, str] = {}

    def accelerator(self, wish: str = "") -> Accelerator:
        self.fail("accelerator")
        return Accelerator("tcg", "nothing runs: this engine is a fake")

    def accelerator_fault(self, name: str) -> str:
        return "" if name == "tcg" else "nothing runs: this engine is a fake"

    def template_state(self, system: System, shape: Shape, accelerator: str = "") -> TemplateState:
        self.fail("template_state")
        return "warm" if (system, shape) in self._warm else "cold"

    def prepare(self, system: System, shape: Shape, progress: Progress = silent, accelerator: str = "") -> Preparation:
        self.fail("prepare")
        reused = (system, shape) in self._warm
        self._warm.add((system, shape))
        return Preparation("tcg", 0.0, reused=reused)

    def spare_key(self, request: StartRequest) -> str | None:
        self.fail("spare_key")
        return f"{request.system.root_digest} {request.shape}" if request.system and not request.shape.network else None

    def claim(self, spare: Path, identity: Identity, request: StartRequest) -> None:
        del self.running[spare / "sockets"]
        self.fail("claim")
        (spare / "sockets").rename(request.sockets)
        self.claimed.append(request)
        self.running[request.sockets] = identity

    def remove_leftovers(self) -> None:
        pass

    def prune_templates(self) -> int:
        return 0

    def template_bytes(self) -> int:
        return 0

    def start(self, request: StartRequest, progress: Progress = silent) -> Started:
        self.fail("start")
        if request.system is not None:
            self._warm.add((request.system, request.shape))
        identity = Identity(_FIRST_PID + len(self.started), start_time=1)
        self.started.append(request)
        self.running[request.sockets] = identity
        if request.is_spare:
            request.sockets.mkdir()
        return Started(identity, "tcg")

    def panic(self, home: Path, sockets: Path, identity: Identity) -> str:
        return self.panics.get(home, "")

    @contextmanager
    def connect(
        self, sockets: Path, *, deadline_seconds: float = 10.0, long_running: bool = False
    ) -> Iterator[FakeConnection]:
        self.fail("connect")
        self.require_running(sockets)
        yield FakeConnection(self, sockets)

    def add_layer(self, home: Path, name: str) -> None:
        self.fail("add_layer")

    def is_layer_empty(self, home: Path, name: str) -> bool:
        return False

    def merge_layers(self, home: Path, sockets: Path, layers: Sequence[str]) -> None:
        self.fail("merge_layers")

    def switch_layer(self, home: Path, sockets: Path, layers: Sequence[str], name: str) -> tuple[str, ...]:
        self.fail("switch_layer")
        self.require_running(sockets)
        return tuple(layers)

    def set_lifetime(self, home: Path, seconds: float) -> None:
        self.fail("set_lifetime")
        self.lifetimes[home] = seconds

    def alive(self, identity: Identity) -> bool:
        self.fail("alive")
        return identity in self.running.values()

    def power_off(
        self, identity: Identity, sockets: Path, when_flushed: Callable[[], object], progress: Progress = silent
    ) -> None:
        self.fail("power_off")
        when_flushed()
        self.kill(identity, sockets)

    def kill(self, identity: Identity, sockets: Path) -> None:
        self.fail("kill")
        if self.running.get(sockets) == identity:
            del self.running[sockets]
            self.ended.append(sockets)

    def kill_all(self, home: Path, sockets: Path) -> None:
        self.fail("kill_all")
        if self.running.pop(sockets, None):
            self.ended.append(sockets)

    def running_below(self, folder: Path) -> list[str]:
        return []

    def fail(self, step: str) -> None:
        """Raise what `failures` holds for `step`, if anything."""
        if step in self.failures:
            raise self.failures[step]

    def require_running(self, sockets: Path) -> None:
        """Raise `GuestGone` unless the machine with these sockets runs."""
        if sockets not in self.running:
            raise GuestGone("the virtual machine is not running")


class FakeConnection:
    """A connection to a machine of a `FakeEngine`."""

    def __init__(self, machines: FakeEngine, sockets: Path) -> None:
        self._machines = machines
        self._sockets = sockets

    def run(self, command: Command) -> Outcome:
        """Raise what a real connection raises for a bad command; else return the outcome of `answer`."""
        self._machines.fail("run")
        encode_exec(command)
        self._machines.require_running(self._sockets)
        self._machines.commands.append(command)
        answered = self._machines.answer(command)
        stdout = Capture(command.output_cap, command.on_stdout)
        stderr = Capture(command.output_cap, command.on_stderr)
        stdout.take(answered.stdout)
        stderr.take(answered.stderr)
        return replace(answered, stdout=stdout.kept(), stderr=stderr.kept())

    def run_detached(self, command: Command) -> tuple[int, int]:
        raise GuestGone(f"{command.argv[0]!r} cannot go on in a machine that is not there")

    def flush(self, *, deadline_seconds: float = 60.0) -> None:
        self._machines.fail("flush")
        self._machines.require_running(self._sockets)
