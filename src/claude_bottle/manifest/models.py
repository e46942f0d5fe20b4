"""The pydantic models of a manifest; their fields have the names of the keys in the file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, PlainValidator, ValidationError, WithJsonSchema, field_validator, model_validator

from claude_bottle.errors import ManifestError, NotInManifest, Problem
from claude_bottle.manifest.budget import BudgetConfig
from claude_bottle.manifest.egress import EgressRule, check_entries
from claude_bottle.manifest.fields import (
    Line,
    Model,
    Name,
    Names,
    Packages,
    Prose,
    Text,
    Texts,
    Variable,
    without_nul,
)
from claude_bottle.manifest.git import GitConfig
from claude_bottle.manifest.problems import Fault, problems_of, shortened, shown_path
from claude_bottle.manifest.secret import SecretConfig
from claude_bottle.manifest.supervise import SuperviseConfig
from pyro_mcp.hints import near_match

HARNESSES = ("claude", "codex", "opencode")
"""The harnesses that have a name; any other is a command, written as a list."""
_HARNESS = {
    "anyOf": [{"enum": list(HARNESSES)}, {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}]
}
_MONTH = 30 * 24 * 3600
_Config = TypeVar("_Config")


def harness_of_manifest(value: Any) -> str | tuple[str, ...]:
    """Return the name or the command of a harness; raise `ValueError` for anything else."""
    if isinstance(value, str):
        if value not in HARNESSES:
            near = near_match(value, HARNESSES) or f"choose from {', '.join(HARNESSES)}"
            raise ValueError(f"there is no harness {shortened(value)!r}; {near}, or write a command as a list")
        return value
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f"must be one of {', '.join(HARNESSES)}, or a command as a list of texts")
    return tuple(without_nul(one) for one in value)


class ResourcesConfig(Model):
    """The size and the lifetime of the machine or container."""

    vcpu_count: Annotated[int, Field(ge=1, le=256)] = 2
    """The number of virtual processors."""
    mem_mib: Annotated[int, Field(ge=128, le=1024 * 1024)] = 2048
    """Memory in MiB."""
    ttl_seconds: Annotated[float, Field(ge=60, le=_MONTH)] = 24 * 3600
    """The lifetime in seconds, after which the machine or container is ended."""


class BottleConfig(Model):
    """What an agent may touch. Without any key: a fresh machine that reaches only the API of its model."""

    environment: Line = "debian:12-agent"
    """The environment that the machine or container starts from: a name, or `oci:IMAGE`."""
    packages: Packages = ()
    """Debian packages to install at the launch: `NAME` or `NAME=VERSION`."""
    egress: Annotated[tuple[EgressRule, ...], Field(strict=False, max_length=256)] = ()
    """The hosts that the agent may reach besides its model's API; all others are refused."""
    secrets: dict[Variable, SecretConfig] = Field(default_factory=dict)
    """Secrets; each is named after the variable that holds its placeholder in the bottle."""
    git: GitConfig = GitConfig()
    """The author of the agent's commits, and the repositories that its git reaches."""
    supervise: SuperviseConfig | None = None
    """What the agent may ask a person for while it runs: `true` for all of it; without this key, nothing."""
    budget: BudgetConfig | None = None
    """Limits on the use of the model; a request that could pass one is refused before it is sent."""
    env: dict[Variable, Text] = Field(default_factory=dict)
    """Environment variables of the agent."""
    resources: ResourcesConfig = ResourcesConfig()
    """The size and the lifetime of the machine or container."""
    accelerator: Literal["auto", "kvm", "uml", "tcg"] = "auto"
    """What executes the processor of a machine; only for the backend `pyro`."""

    @field_validator("supervise", mode="before")
    @classmethod
    def _nothing_at_all(cls, value: Any) -> Any:
        return None if value is False else value

    @model_validator(mode="after")
    def _one_value_each(self) -> BottleConfig:
        for name in self.env:
            if name in self.secrets:
                raise Fault(("env", name), "is the name of a secret too; rename one of them")
        return self

    @model_validator(mode="after")
    def _one_upstream_each(self) -> BottleConfig:
        try:
            check_entries([rule.entry() for rule in self.egress])
        except ValueError as error:
            raise Fault(("egress",), str(error)) from error
        return self


class AgentConfig(Model):
    """A coding agent: its bottle, its program, its prompt and its skills."""

    bottle: Name
    """The bottle that the agent runs in."""
    prompt: Prose = ""
    """Text that is added to the system prompt."""
    skills: Names = ()
    """The agent's skills: names of folders in `~/.claude/skills`."""
    harness: Annotated[str | tuple[str, ...], PlainValidator(harness_of_manifest), WithJsonSchema(_HARNESS)] = "claude"
    """The agent's program: `claude`, `codex`, `opencode`, or a command as a list."""
    model: Line | None = None
    """The model, as the program names it; without this key, the program's default."""
    args: Texts = ()
    """Additional arguments for the program."""
    login: Literal["keep"] | None = None
    """`keep`: a subscription login stays on this computer for the agent's later bottles, and enters each of them."""

    @model_validator(mode="after")
    def _login_can_be_kept(self) -> AgentConfig:
        if self.login is not None and not isinstance(self.harness, str):
            raise Fault(("login",), f"can only be kept for {', '.join(HARNESSES)}: a command's login files are unknown")
        return self


class Manifest(Model):
    """Bottles and agents by name."""

    bottles: Annotated[dict[Name, BottleConfig], Field(max_length=256)] = Field(default_factory=dict)
    """Bottles by name; each says what an agent may touch."""
    agents: Annotated[dict[Name, AgentConfig], Field(max_length=256)] = Field(default_factory=dict)
    """Agents by name."""

    @classmethod
    def from_json_obj(cls, obj: object) -> Manifest:
        """Return the manifest that an object of JSON describes; raises `ManifestError` with all its problems."""
        manifest, problems = checked(obj)
        if manifest is None or (problems := reference_problems(manifest)):
            raise ManifestError(problems)
        return manifest

    def agent(self, name: str) -> AgentConfig:
        """Return the agent of that name; raises `NotInManifest` with the near match."""
        return _found("agent", name, self.agents)

    def bottle(self, name: str) -> BottleConfig:
        """Return the bottle of that name; raises `NotInManifest` with the near match."""
        return _found("bottle", name, self.bottles)

    def bottle_of(self, agent_name: str) -> BottleConfig:
        """Return the bottle that an agent runs in; raises `NotInManifest` with the near match."""
        return self.bottle(self.agent(agent_name).bottle)


def checked(obj: object, *, partly: bool = False) -> tuple[Manifest | None, tuple[Problem, ...]]:
    """Return the manifest that an object of JSON describes, or None and what is wrong in it.

    It is not checked that the agents' bottles exist. With `partly`, required keys may be missing, because another file
    may have them.
    """
    if isinstance(obj, Mapping):  # an editor finds the schema of the file by this key
        obj = {key: value for key, value in obj.items() if key != "$schema"}
    try:
        return Manifest.model_validate(obj), ()
    except ValidationError as error:
        return None, problems_of(error, Manifest, partly=partly)


def reference_problems(manifest: Manifest) -> tuple[Problem, ...]:
    """Return a problem for each agent whose bottle does not exist."""
    found = ((name, agent) for name, agent in manifest.agents.items() if agent.bottle not in manifest.bottles)
    return tuple(
        Problem(shown_path(("agents", name, "bottle")), missing("bottle", agent.bottle, manifest.bottles))
        for name, agent in found
    )


def missing(kind: str, name: str, known: Collection[str]) -> str:
    """Return the message about an unknown agent or bottle, with a near match or the known names."""
    others = f"choose from {shortened(', '.join(sorted(known)))}" if known else f"the manifest has no {kind}"
    return f"there is no {kind} {shortened(name)!r}; {near_match(name, known) or others}"


def _found(kind: str, name: str, known: Mapping[str, _Config]) -> _Config:
    if name not in known:
        raise NotInManifest(missing(kind, name, known))
    return known[name]
