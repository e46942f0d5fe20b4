"""The interface of an engine: the values that go in and out, and what every engine must do.

An engine starts, reaches and ends machines. It knows no names and no history of them. `qemu` runs virtual machines,
`host_compat` runs commands in a sandbox where no virtual machine can run, `fake` runs nothing and is for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Protocol

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.progress import Progress

MIN_MEM_MIB = 192
MAX_MEM_MIB = 262144
MAX_VCPUS = 64
OUTPUT_CAP = 1024 * 1024
"""Bytes of each output stream that a result keeps unless asked otherwise."""

OutputSink = Callable[[bytes], None]


@dataclass(frozen=True)
class Accelerator:
    """`name` is "kvm" or "tcg"; `reason` says in one sentence why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Shape:
    """Virtual processors and memory (MiB) of a machine, and whether it has a network device.

    Raises `InvalidRequest` for what cannot boot.
    """

    vcpu_count: int = 1
    mem_mib: int = 1024
    network: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.vcpu_count, int) and isinstance(self.mem_mib, int)):
            raise InvalidRequest("the number of processors and the MiB of memory are whole numbers")
        if not 1 <= self.vcpu_count <= MAX_VCPUS:
            raise InvalidRequest(f"a machine has 1 to {MAX_VCPUS} virtual processors, not {self.vcpu_count}")
        if not MIN_MEM_MIB <= self.mem_mib <= MAX_MEM_MIB:
            raise InvalidRequest(f"a machine has {MIN_MEM_MIB} to {MAX_MEM_MIB} MiB of memory, not {self.mem_mib}")


@dataclass(frozen=True)
class System:
    """The files a machine boots from; all are read-only and shared by every machine that uses them.

    `modules` are the kernel modules the agent loads, in load order. The digests name the contents.
    """

    vmlinuz: Path
    kernel_digest: str
    modules: tuple[Path, ...]
    root: Path
    root_digest: str


@dataclass(frozen=True)
class StartRequest:
    """A machine to be started.

    `home` holds its log and the layers of its disk and must exist; `layers` names them, lowest first. The top layer of
    a `new_disk` is made empty when it is not there. `sockets` is where its sockets will be. `lifetime_seconds` is when
    it is killed in any case. A new `generation` starts with / as the environment has it. `files` (guest path → mode,
    content) are written before the first command. `baseline` is an EROFS image for /workspace, None for an empty one.
    `output` is a host file of `DISK_BYTES` that the machine may write as its fourth disk. `tap` gives the descriptor of
    the tap device that a shape with network needs; it is asked late, so that whoever makes it has time. Only an engine
    without a guest does without a `system`.
    """

    system: System | None
    shape: Shape
    home: Path
    sockets: Path
    hostname: str
    lifetime_seconds: float
    layers: Sequence[str] = ("l0",)
    new_disk: bool = True
    generation: int = 0
    files: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)
    baseline: Path | None = None
    output: Path | None = None
    tap: Callable[[], int] = lambda: -1


TemplateState = Literal["warm", "cold", "stale"]
"""warm: a template is there; stale: one was made, of parts that have changed since; cold: none."""


@dataclass(frozen=True)
class Preparation:
    """A warm template: `reused` when it was there already; `cold_boot_ms` is what its one real boot took."""

    accelerator: str
    cold_boot_ms: float
    reused: bool


@dataclass(frozen=True)
class Command:
    """A program to run in the guest, or on the host where no guest can run.

    `argv` and `environ` may hold any bytes but NUL (as `os.fsencode` gives them); `cwd` is a guest path;
    `timeout_seconds` bounds the run (0: no bound); `stdin` is given whole or as an open binary file. A `tool` is one of
    our own programs, run outside the root that commands see. When the descriptor `interrupt` becomes readable, the
    command is left alone and `Interrupted` raised; the agent kills a command whose client has gone.
    """

    argv: Sequence[str | bytes]
    cwd: str = "/workspace"
    environ: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 30.0
    stdin: bytes | IO[bytes] | None = None
    output_cap: int = OUTPUT_CAP
    on_stdout: OutputSink | None = None
    on_stderr: OutputSink | None = None
    tool: bool = False
    interrupt: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    `exit_code` is the program's, 126 or 127 when it could not be started, 128+n when signal n ended it, and 124 when
    the time limit did (`timed_out`). `stdout` and `stderr` hold the first `output_cap` bytes; the totals are true.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int
    timed_out: bool
    signal: int | None
    duration_ms: float

    @property
    def truncated(self) -> bool:
        return self.stdout_bytes > len(self.stdout) or self.stderr_bytes > len(self.stderr)


class Connection(Protocol):
    """A connection to one running machine."""

    def run(self, command: Command) -> Outcome: ...

    def begin(self, command: Command) -> tuple[int, int]: ...

    def flush(self, *, deadline_seconds: float = 60.0) -> None: ...


class Engine(Protocol):
    """Starts, reaches and ends machines."""

    @property
    def execution_mode(self) -> str:
        """`guest_virtio` for a real guest, `host_compat` for none."""

    def accelerator(self) -> Accelerator: ...

    def readiness(self, system: System, shape: Shape) -> TemplateState: ...

    def prepare(self, system: System, shape: Shape, progress: Progress) -> Preparation: ...

    def sweep(self) -> None: ...

    def prune(self) -> int: ...

    def held_bytes(self) -> int: ...

    def start(self, request: StartRequest, progress: Progress) -> Identity: ...

    def guest(
        self, sockets: Path, *, deadline_seconds: float = 10.0, lasting: bool = False
    ) -> AbstractContextManager[Connection]: ...

    def make_layer(self, home: Path, name: str) -> None: ...

    def is_unused(self, home: Path, name: str) -> bool: ...

    def merge_layers(self, home: Path, sockets: Path, layers: Sequence[str]) -> None: ...

    def use_layer(self, home: Path, sockets: Path, layers: Sequence[str], name: str) -> tuple[str, ...]: ...

    def set_lifetime(self, home: Path, seconds: float) -> None: ...

    def alive(self, identity: Identity) -> bool: ...

    def power_off(
        self, identity: Identity, sockets: Path, when_flushed: Callable[[], object], progress: Progress
    ) -> None: ...

    def end(self, identity: Identity, sockets: Path) -> None: ...

    def end_all(self, home: Path, sockets: Path) -> None:
        """End every process of the machine with this folder, also when nobody knows their numbers."""

    def running_below(self, folder: Path) -> list[str]:
        """Return the folders below `folder` that a machine runs from, by name, also those removed meanwhile."""
