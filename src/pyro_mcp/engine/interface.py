"""The interface of an engine: the values that it takes and returns, and what each method must do.

An engine starts, reaches and ends single machines. It does not know their names or their history. `guest` runs virtual
machines, `host_compat` runs commands in a sandbox on the host, `fake` runs nothing and is for tests.
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
"""The default number of bytes of each output stream that a result holds."""

OutputSink = Callable[[bytes], None]
"""Called with each piece of output as it arrives, in the thread that runs the command."""


@dataclass(frozen=True)
class Accelerator:
    """What executes the guest's instructions: `name` is "kvm", "uml", "tcg" or "none"; `reason` is one sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class Shape:
    """The hardware of a machine: virtual processors, memory in MiB, and whether it has a network device.

    Raises `InvalidRequest` for values out of range.
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
    """The files that a machine boots from, read-only and shared by all machines that use them.

    `vmlinuz` is the kernel, `modules` are the kernel modules that the agent loads, in load order. `root` is an EROFS
    image of the root file system. A digest changes when the content does.
    """

    vmlinuz: Path
    kernel_digest: str
    modules: tuple[Path, ...]
    root: Path
    root_digest: str


@dataclass(frozen=True)
class StartRequest:
    """A machine to be started.

    `system`: what it boots from; None only for an engine without a guest.
    `home`, `sockets`: its folders, see `Engine`. `home` exists.
    `hostname`: the guest's host name.
    `lifetime_seconds`: the machine is killed this long after its start, unless `set_lifetime` moves the moment.
    `layers`: the files of its disk, lowest first; all but the last are frozen. With `new_disk` the last one is made
    empty if it is missing; otherwise every one must exist. Without layers the machine is a spare: it waits, with no
    disk and no identity, to become another machine (`Engine.claim`); `sockets` is then a folder in `home`.
    `generation`: a number not used before on this disk gives / as the environment has it; /workspace stays.
    `files`: guest path → (mode, content), written before the first command.
    `baseline`: an EROFS image with the first content of /workspace; None for an empty one.
    `output`: a host file of `disks.DISK_BYTES` bytes that the machine may write as its fourth disk.
    `tap`: returns the descriptor of the tap device of a shape with network, else -1; called late, as it may block.
    `accelerator`: the requested one (`accelerators.REQUESTABLE`); "" means the default of `accelerators.requested`.
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
    accelerator: str = ""

    @property
    def is_spare(self) -> bool:
        """Return whether this is for a spare."""
        return not self.layers


@dataclass(frozen=True)
class Started:
    """A machine that accepts commands: its first process, and the name of the accelerator that runs it."""

    identity: Identity
    accelerator: str


TemplateState = Literal["warm", "cold", "stale"]
"""warm: a template exists; stale: only one of parts that have changed since; cold: none."""


@dataclass(frozen=True)
class Preparation:
    """The result of `prepare`: the accelerator's name, how long the one real boot took, and whether it was reused."""

    accelerator: str
    cold_boot_ms: float
    reused: bool


@dataclass(frozen=True)
class Command:
    """A program to run in the guest, or in the sandbox of `host_compat`.

    `argv`, `environ`: any bytes but NUL, as `os.fsencode` gives them.
    `cwd`: a guest path.
    `timeout_seconds`: limits the run; 0 is no limit.
    `stdin`: the whole input, or an open binary file with a descriptor; None is an empty input.
    `output_cap`: how many bytes of each stream the outcome holds; `on_stdout` and `on_stderr` get all of them.
    `is_guest_program`: one of our own programs (`guest/`), run outside the root that commands see.
    `interrupt`: a descriptor; when it becomes readable, `run` raises `Interrupted` and the command is killed.
    """

    argv: Sequence[str | bytes]
    cwd: str = "/workspace"
    environ: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 30.0
    stdin: bytes | IO[bytes] | None = None
    output_cap: int = OUTPUT_CAP
    on_stdout: OutputSink | None = None
    on_stderr: OutputSink | None = None
    is_guest_program: bool = False
    interrupt: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    `exit_code` is the program's; 126 or 127 when it could not be started, 128 + n when signal n ended it, 124 when the
    time limit did (`timed_out`). `stdout` and `stderr` hold the first `output_cap` bytes of each stream, `stdout_bytes`
    and `stderr_bytes` count all of them.
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
        """Return whether a stream had more bytes than this holds."""
        return self.stdout_bytes > len(self.stdout) or self.stderr_bytes > len(self.stderr)


class Connection(Protocol):
    """A connection to one running machine. One request runs at a time; a connection is not for several threads.

    Every method raises `GuestGone` when the machine ends, `ProtocolViolation` when the guest sends malformed data, and
    `DeadlineExceeded` when it does not answer in time. After an error only leaving the context manager is allowed.
    """

    def run(self, command: Command) -> Outcome:
        """Run a command until it ends; a command that fails is an `Outcome`, not an error.

        Raises `InvalidRequest` for a command that no program can be given or a folder that cannot be entered, and
        `Interrupted` when `command.interrupt` becomes readable. When this raises, the command has been killed or is
        killed when the connection closes.
        """

    def run_detached(self, command: Command) -> tuple[int, int]:
        """Start a command and return while it runs; the connection cannot be used for anything else afterwards.

        Returns two descriptors that stay valid inside the context manager. The command runs as long as any process
        holds copies of both; the first becomes readable when the command has written something or has ended. Raises
        `GuestFailed` when it does not start, `Conflict` when the engine cannot run detached commands.
        """

    def flush(self, *, deadline_seconds: float = 60.0) -> None:
        """Return when everything that the guest has written is in the files of its disk. Raises `GuestFailed`."""


class Engine(Protocol):
    """Starts, reaches and ends machines. All methods may be called from several threads and processes at once.

    Three paths name a machine. `home` is its private folder, which exists before `start` and is removed by the caller
    after `kill`. `sockets` is the folder of its Unix sockets, which the engine makes and removes. `identity` is its
    first process, as `start` returned it. A machine may have more processes; all of them die with `kill`.

    In `home` an engine may make `live/` and `frozen/` (the layers of the disk, `disks.DiskLayers`), `deadline`
    (`lifetime`), `.ids` (`host.user_ids`), and log files. It makes nothing there for machines that it did not start.
    """

    @property
    def execution_mode(self) -> str:
        """Return what results call this engine: `guest_virtio` for a real guest, `host_compat` for none."""

    def accelerator(self, wish: str = "") -> Accelerator:
        """Return what would execute the instructions of a guest started with this wish, and why.

        May probe once per boot of the host (20 s at most). Raises `InvalidRequest` for an unknown accelerator,
        `HostNotReady` for a requested one that does not work here, or when no machine can run.
        """

    def accelerator_fault(self, name: str) -> str:
        """Return why an accelerator does not work on this host, as a clause; "" if it does.

        What failed before is tried again, because it may have been repaired.
        """

    def template_state(self, system: System, shape: Shape, accelerator: str = "") -> TemplateState:
        """Return whether a start would find a template, "warm" if it needs none; starts no machine of this shape. An
        engine that cannot prepare returns "cold".
        """

    def prepare(self, system: System, shape: Shape, progress: Progress, accelerator: str = "") -> Preparation:
        """Make what starts of this shape need, so that the next `start` is fast. A second call is cheap.

        Raises `InvalidRequest` for more memory than the host has, `GuestFailed`, `GuestGone` or `DeadlineExceeded`
        when a machine does not boot, `NoSpace`. When this raises, no process is left running.
        """

    def remove_leftovers(self) -> None:
        """Kill the machines and remove the scratch folders that killed processes left in the cache while they prepared
        something. Machines with a `home` are not touched. The caller may call it at any time.
        """

    def prune_templates(self) -> int:
        """Remove every template that no machine uses; return the number of bytes freed."""

    def template_bytes(self) -> int:
        """Return how many bytes all templates occupy on the disk."""

    def start(self, request: StartRequest, progress: Progress) -> Started:
        """Start a machine; return when it accepts commands.

        The machine then has its own clock, random numbers, host name and files, and ends by itself at its lifetime.
        Calls `request.tap` at most once. Raises `InvalidRequest`, `HostNotReady`, `HostToolMissing`, `NoSpace`,
        `GuestFailed`, `GuestGone` or `DeadlineExceeded`; then no process of it runs and `home` holds at most the files
        named above, with every layer of the request unchanged.
        """

    def spare_key(self, request: StartRequest) -> str | None:
        """Return a digest of all that a spare must have been started with to become the machine of `request`.

        Returns None when no spare can become it. Raises what `start` raises.
        """

    def claim(self, spare: Path, identity: Identity, request: StartRequest) -> None:
        """Let the spare in the home `spare` become the machine of `request`; return when it accepts commands.

        From its first step on, the spare's processes belong to the machine: `kill_all` of its home ends them. When this
        raises, no process of either runs, and the home holds what it holds after a `start` that raised. It raises
        `PyroError` or `OSError`; the spare may be at fault, so the caller can still start the machine.
        """

    def panic(self, home: Path, sockets: Path, identity: Identity) -> str:
        """Return why the kernel of a machine's guest ended it, in the kernel's words; "" when that is not known.

        Waits for a short time until the machine has ended.
        """

    def connect(
        self, sockets: Path, *, deadline_seconds: float = 10.0, long_running: bool = False
    ) -> AbstractContextManager[Connection]:
        """Connect to a running machine for the time of the block.

        Callers are served in the order in which they came. One that is `long_running`, a command, leaves some
        connections free for short requests. Raises `Busy` when no connection is free within `deadline_seconds`,
        `DeadlineExceeded` when the machine accepts none in that time, `GuestGone` when it does not run, and `NoSpace`
        when it is paused because the host's disk is full.
        """

    def add_layer(self, home: Path, name: str) -> None:
        """Make an empty layer `name` in `home`, which no machine uses yet. Raises `NoSpace`, then without the layer."""

    def is_layer_empty(self, home: Path, name: str) -> bool:
        """Return whether nothing was ever written to layer `name` of a machine that does not run."""

    def merge_layers(self, home: Path, sockets: Path, layers: Sequence[str]) -> None:
        """Merge layers of a running machine now if it uses `MOST_LAYERS` or more, so that `switch_layer` may add one.

        `layers` are those in the machine's record, lowest first; the machine may use fewer after earlier merges. Files
        of merged layers stay. Raises `NoSpace` when the layers cannot be merged; the disk then holds the same.
        """

    def switch_layer(self, home: Path, sockets: Path, layers: Sequence[str], name: str) -> tuple[str, ...]:
        """Freeze the disk of a running machine as it is now; from then on the machine writes to the layer `name`.

        `name` was made by `add_layer`; `layers` are those in the record, lowest first. Returns the layers that are now
        frozen, lowest first: fewer than `layers` when some were merged. The guest's file system is flushed and stands
        still meanwhile (some 10 ms). Raises `GuestFailed`; the caller then cannot know which layer is written, and must
        treat both as in use until the machine ends.
        """

    def set_lifetime(self, home: Path, seconds: float) -> None:
        """Let the machine end `seconds` from now, running or not yet started; a running one follows within 5 s.

        Raises `NoSpace`; the former end then stays.
        """

    def alive(self, identity: Identity) -> bool:
        """Return whether the machine still runs. Costs a file read and does not contact the guest."""

    def power_off(
        self, identity: Identity, sockets: Path, when_flushed: Callable[[], object], progress: Progress
    ) -> None:
        """Flush the machine's disk, call `when_flushed`, and end the machine; return when no process of it is left.

        When `when_flushed` is called, nothing that the guest has written can be lost any more. When the disk cannot be
        flushed, or `when_flushed` raises, this raises and the machine continues to run. A machine that has ended by
        itself is not an error. A flush may take any time while the guest reports progress.
        """

    def kill(self, identity: Identity, sockets: Path) -> None:
        """Kill the machine, wait until no process of it is left, and remove `sockets`. A second call does nothing.

        Raises `DeadlineExceeded` when a process does not end within 10 s.
        """

    def kill_all(self, home: Path, sockets: Path) -> None:
        """Do the same for the machine with this `home` when its identity is not known, even if it is just starting."""

    def running_below(self, folder: Path) -> list[str]:
        """Return the names of the folders in `folder` that are the home of a running machine, removed ones included."""
