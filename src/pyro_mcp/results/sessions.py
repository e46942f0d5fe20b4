"""Shells and services: programs that go on after the call that started them."""

from __future__ import annotations

from typing import Literal, TypedDict

from pyro_mcp.results.networks import PublishedPort

SessionState = Literal["running", "exited"]
ServiceState = Literal["starting", "running", "exited", "failed", "stopped"]
"""`exited` by itself, `failed` before it was ready, `stopped` by us or with its workspace."""


class PortWanted(TypedDict, total=False):
    """A guest port to be shown on the host's 127.0.0.1, at any free port unless `host_port` is given."""

    host_port: int | None
    guest_port: int


class ShellInfo(TypedDict):
    """One shell: a program on a terminal in the guest."""

    workspace_id: str
    shell_id: str
    state: SessionState
    exit_code: int | None
    """None while it runs."""
    cols: int
    rows: int
    started_at: float


class ShellOpened(ShellInfo):
    """A new shell."""

    cwd: str
    secret_env: list[str]
    """The variables that hold secrets."""


class ShellRead(ShellInfo):
    """What a shell wrote from `cursor` on; cursors count the bytes it has written in its life."""

    cursor: int
    """Where `output` begins: further on than was asked for when the oldest bytes are not kept any more."""
    next_cursor: int
    """What to read from next."""
    output: str
    plain: bool
    """Whether `output` is what a person would see, else the terminal's bytes as text."""
    truncated: bool
    """Whether bytes before `cursor` are lost, or more waits after `next_cursor`."""
    dropped_bytes: int


class ShellWritten(TypedDict):
    """Input that a shell was given."""

    workspace_id: str
    shell_id: str
    input_bytes: int
    append_newline: bool


class ShellSignalled(TypedDict):
    """A signal that the foreground of a shell's terminal got."""

    workspace_id: str
    shell_id: str
    signal: str


class ShellClosed(ShellInfo):
    """A shell that is no more."""

    closed: bool


class ShellList(TypedDict):
    """The shells of a workspace."""

    workspace_id: str
    count: int
    shells: list[ShellInfo]


class ServiceInfo(TypedDict):
    """One service: a named program in the background of a workspace."""

    workspace_id: str
    service_name: str
    state: ServiceState
    command: str | list[str]
    cwd: str
    readiness: dict[str, object] | None
    started_at: float
    ready_at: float | None
    ended_at: float | None
    exit_code: int | None
    pid: int | None
    failure: str | None
    """Why its state is `failed`."""
    published_ports: list[PublishedPort]
    secret_env: list[str]


class ServiceList(TypedDict):
    """The services of a workspace, those that ended too."""

    workspace_id: str
    count: int
    running_count: int
    services: list[ServiceInfo]


class ServiceLogs(TypedDict):
    """What a service wrote; the last 4 MiB of each stream are kept."""

    workspace_id: str
    service_name: str
    state: ServiceState
    exit_code: int | None
    stdout: str
    stderr: str
    tail_lines: int | None
    """None for everything that is kept."""
    truncated: bool
    """Whether there was more before what is shown."""
