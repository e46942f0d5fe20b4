"""The results of `Bottles` as typed dictionaries; times are seconds since 1970, sizes are bytes."""

from __future__ import annotations

from typing import Literal, TypedDict

BottleState = Literal["launching", "running", "idle", "waiting for permission", "ended", "gone", "unknown"]
"""The state of an agent. "gone": something else removed its machine or container; "unknown": its backend failed."""
BudgetSpan = Literal["run", "day", "bottle"]
"""One run; all runs of the bottle on one day (UTC); all runs of the bottle."""
BudgetUnit = Literal["requests", "tokens", "usd"]


class PlannedHost(TypedDict):
    """A host that the bottle may reach; None in `methods` or `paths` allows all."""

    host: str
    methods: list[str] | None
    paths: list[str] | None
    upstream: str | None
    meter: str | None
    """The API of a model whose requests count for the budget."""
    reason: str
    """Why it is allowed: "model API of HARNESS", or the path of its entry in the manifest."""


class PlannedSecret(TypedDict):
    """A secret by name; its value is read at the launch and never shown."""

    name: str
    source: str
    placed: str
    hosts: list[str]
    ask: bool
    """Whether a person must approve its use."""


class PlannedSkill(TypedDict):
    """A skill of this host that is copied in."""

    name: str
    folder: str
    files: int
    size_bytes: int


class PlannedRemote(TypedDict):
    """A remote of the copied folder; its URL has no user name and no password."""

    name: str
    url: str


class PlannedPush(TypedDict):
    """Refs that may be pushed: after a person approves each push, or always."""

    ref: str
    approve: Literal["ask", "always"]


class PlannedGateRemote(TypedDict):
    """What the agent may fetch and push at one remote."""

    name: str
    url: str
    fetch: bool
    push: list[PlannedPush]


class PlannedGit(TypedDict):
    """The author of commits, the remotes of the copied folder, and those of the git gate."""

    user_name: str
    user_email: str
    remotes: list[PlannedRemote]
    gate: list[PlannedGateRemote]
    """The agent's git reaches nothing else."""


class PlannedLimit(TypedDict):
    """A limit on the use of models."""

    span: BudgetSpan
    unit: BudgetUnit
    limit: float


class PlannedLogin(TypedDict):
    """The login that stays on this host for later bottles of the agent."""

    kept_at: float | None
    """When it was kept; None when nobody has logged in yet."""


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
    budget: list[PlannedLimit]
    """The limits on the use of models; empty without a budget."""
    secrets: list[PlannedSecret]
    variables: dict[str, str]
    git: PlannedGit
    may_ask_for: list[str]
    """The kinds of requests with which the agent may ask a person for more while it runs."""
    login: PlannedLogin | None
    prompt_bytes: int
    skills: list[PlannedSkill]
    steps: list[str]
    problems: list[str]
    """Why a launch would fail now; empty if it would succeed."""
    warnings: list[str]
    """What the user may have overlooked."""
    origins: list[KeyOrigin]


class BudgetUse(TypedDict):
    """The use of one limit: what was used, and what is reserved for requests that run or whose end is unknown."""

    span: BudgetSpan
    unit: BudgetUnit
    used: float
    reserved: float
    limit: float


class BottleInfo(TypedDict):
    """One launched bottle."""

    slug: str
    agent: str
    bottle: str
    backend: str
    state: BottleState
    exit_code: int | None
    """The agent's exit code; None while it runs, or when it is unknown."""
    folder: str
    copied: bool
    created_at: float
    problems: list[str]
    """Why its state is unknown, why its login could not be kept, and that its guard has ended; else empty."""
    login: bool
    """Whether it has the kept login of its agent."""
    budget: list[BudgetUse]
    """The use of each limit of its budget; empty without one."""


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
    """The last output of a bottle's agent, and its refused connections."""

    slug: str
    state: BottleState
    output: str
    refused: list[Refusal]
    connections: list[dict[str, object]]
    """All attempted connections, oldest first; empty unless they were requested."""


class DiffReport(TypedDict):
    """What changed in the tree since the launch."""

    slug: str
    changed: bool
    diff: str
    """The patch, in the format of `git diff`."""
    not_in_patch: list[str]
    """Changed paths that the patch leaves out: binary, too large or special."""
    git_changes: int
    """How many paths in `.git` folders changed; they are not in the patch."""
    ignored_changes: int
    """How many changed files a `.gitignore` names; they are not in the patch."""


class ExportReport(TypedDict):
    """What was copied to the host."""

    slug: str
    path: str
    output: str
    remarks: list[str]
    """What was left out and why, and files that tools of the host run by themselves."""


class StopReport(TypedDict):
    """The bottles that were removed."""

    stopped: list[str]
    remarks: list[str]
    """Why the login that a bottle had could not be kept."""


class LogoutReport(TypedDict):
    """The agent whose kept logins were removed from this host."""

    agent: str
    still_in: list[str]
    """The bottles that have such a login."""


class RequestInfo(TypedDict):
    """A request of an agent for more than its bottle allows; its texts hold only visible characters."""

    reference: str
    """Its name for `approve` and `deny`, which binds the exact rule."""
    digest: str
    """The digest, in full, of the rule, the policy of the bottle and its launch; the reference has the beginning."""
    slug: str
    agent: str
    kind: str
    rule: dict[str, object]
    """Exactly what an approval allows; its texts may come from the guest as they are."""
    allows: str
    """The rule in one line."""
    reason: str
    """Why, in the agent's words."""
    asked_by: str
    """ "agent", or "refusal" when the guard asked about a refused connection."""
    asked_at: float
    expires_at: float
    """When it is denied if nobody has decided."""
    grant_seconds: float
    """How long an approval lasts."""
    state: str
    """ "pending", "approved", "denied", "expired", "void" (the manifest has changed) or "ended" (its bottle has)."""
    decided_by: str
    granted_until: float | None


class ExcessInfo(TypedDict):
    """The requests of a bottle that were only counted, because it asked too often."""

    slug: str
    count: int
    last_at: float


class HeldPushReport(TypedDict):
    """A push that waits for a person; its texts hold only visible characters, but line ends and tabs."""

    reference: str
    slug: str
    remote: str
    url: str
    summary: str
    """What would change: each ref with its old and its new commit."""
    remarks: list[str]
    """What a person should look at, such as files that a program runs by itself."""
    log: str
    diff: str


class PendingReport(TypedDict):
    """The requests that wait for a person, oldest first."""

    requests: list[RequestInfo]
    excess: list[ExcessInfo]


class BackendReport(TypedDict):
    """Whether bottles run on a backend; `problems` say what is missing and how to get it."""

    name: str
    ready: bool
    default: bool
    problems: list[str]


class DoctorReport(TypedDict):
    """What this host has and lacks."""

    ready: bool
    """Whether the default backend is ready."""
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
    """Whether the model got the real key."""
    exit_code: int


class AuditEntry(TypedDict):
    """One decision about the launched bottle `slug`; `bottle` is its name in the manifest.

    `who` is "policy", "person NAME", "timeout" and the like; `rule` is what allowed or refused it.
    """

    number: int
    at: float
    kind: str
    decision: str
    slug: str
    bottle: str
    agent: str
    who: str
    rule: str
    what: dict[str, object]


class AuditReport(TypedDict):
    """Decisions, oldest first; `omitted` is how many earlier ones the limit left out."""

    journal: str
    omitted: int
    entries: list[AuditEntry]


class AuditProblem(TypedDict):
    """One thing that is wrong with lines `first` to `last` of the journal; `row` is a place in its file, or 0."""

    what: Literal["changed", "missing", "moved", "repeated", "foreign", "head", "mark"]
    first: int
    last: int
    row: int
    message: str


class AuditVerification(TypedDict):
    """Whether the journal is as its writers wrote it."""

    journal: str
    intact: bool
    lines: int
    mark: str
    """The number and hash of the last line. Kept elsewhere, it finds a journal that was written anew."""
    problem_count: int
    problems: list[AuditProblem]
    """The first hundred."""
