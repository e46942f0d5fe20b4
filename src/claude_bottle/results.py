"""The shapes of what `Bottles` returns; moments are seconds since 1970, sizes bytes."""

from __future__ import annotations

from typing import Literal, TypedDict

BottleState = Literal["launching", "running", "idle", "waiting for permission", "ended", "gone", "unknown"]
"""What an agent does. "gone": its machine or container was removed without us; "unknown": its backend does not say."""


class PlannedHost(TypedDict):
    """A host that the bottle may reach; `methods` and `paths` None mean all."""

    host: str
    methods: list[str] | None
    paths: list[str] | None
    upstream: str | None
    reason: str
    """Why it is allowed: "model API", or the path in the manifest."""


class PlannedSecret(TypedDict):
    """A secret by name; its value is read at the launch and never shown."""

    name: str
    source: str
    placed: str
    hosts: list[str]


class PlannedSkill(TypedDict):
    """A skill of this host that is copied in."""

    name: str
    folder: str
    files: int
    size_bytes: int


class PlannedGit(TypedDict):
    """Who commits are by, and the remotes of the copied folder, by name; no credential of them enters."""

    user_name: str | None
    user_email: str | None
    remotes: list[str]


class PlannedResources(TypedDict):
    """The size of the machine or container."""

    vcpu_count: int
    mem_mib: int
    ttl_seconds: float


class KeyOrigin(TypedDict):
    """A key of the manifest, and the file that it came from."""

    key: str
    file: str


class PlanReport(TypedDict):
    """Everything that a launch will do."""

    agent: str
    bottle: str
    backend: str
    harness: str
    command: list[str]
    environment: str
    packages: list[str]
    resources: PlannedResources
    accelerator: str
    copied_folder: str | None
    hosts: list[PlannedHost]
    secrets: list[PlannedSecret]
    variables: dict[str, str]
    git: PlannedGit
    prompt_bytes: int
    skills: list[PlannedSkill]
    steps: list[str]
    problems: list[str]
    """Why the launch would fail now; empty when it would not."""
    warnings: list[str]
    """What the reader may not want, or has forgotten."""
    origins: list[KeyOrigin]


class BottleInfo(TypedDict):
    """One launched bottle."""

    slug: str
    agent: str
    bottle: str
    backend: str
    state: BottleState
    exit_code: int | None
    """Of the agent; None while it runs, or when it is not known."""
    folder: str
    copied: bool
    created_at: float
    problem: str
    """Why the state is unknown; else empty."""


class BottleList(TypedDict):
    """All bottles of this user, oldest first."""

    count: int
    bottles: list[BottleInfo]


class Refusal(TypedDict):
    """Connections to one host and port that were refused."""

    host: str
    port: int | None
    protocol: str
    reason: str
    count: int
    last_at: float
    hint: str
    """How to allow it."""


class LogsReport(TypedDict):
    """What a bottle's agent showed last, and what it was refused."""

    slug: str
    state: BottleState
    output: str
    refused: list[Refusal]
    connections: list[dict[str, object]]
    """All that were asked for, oldest first; only on request."""


class DiffReport(TypedDict):
    """What changed in the tree since the launch, as git writes it."""

    slug: str
    changed: bool
    diff: str


class ExportReport(TypedDict):
    """What was copied to the host."""

    slug: str
    path: str
    output: str
    remarks: list[str]
    """What was left out and why, and files that tools of the host run by themselves."""


class StopReport(TypedDict):
    """Bottles that are removed."""

    stopped: list[str]


class BackendReport(TypedDict):
    """Whether bottles run on a backend; `problems` say what is missing and how to get it."""

    name: str
    ready: bool
    default: bool
    problems: list[str]


class DoctorReport(TypedDict):
    """What this host has and lacks."""

    ready: bool
    """Whether the default backend is."""
    backends: list[BackendReport]
    bottles: int


class DemoStep(TypedDict):
    """A part of the demonstration, and how long it took."""

    name: str
    seconds: float


class DemoReport(TypedDict):
    """What the demonstration did."""

    backend: str
    steps: list[DemoStep]
    output: str
    diff: str
    refused: list[Refusal]
    placeholder: str
    """What the guest had in place of the key."""
    key_arrived: bool
    """Whether the model got the real key all the same."""
    exit_code: int
