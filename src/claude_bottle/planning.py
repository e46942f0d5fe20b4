"""The plan of a launch, for a person to read before anything is done."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.budget.model_hosts import meter_problems, meter_warnings
from claude_bottle.budget.report import planned_limits
from claude_bottle.harness import Harness, harness_of
from claude_bottle.harness.secrets import all_secrets
from claude_bottle.logins import kept_login
from claude_bottle.manifest import is_trusted, require_trust
from claude_bottle.provision.prompt import PROMPT_NAME
from claude_bottle.provision.skill_check import check_skills
from claude_bottle.results import (
    KeyOrigin,
    PlannedGateRemote,
    PlannedGit,
    PlannedHost,
    PlannedLogin,
    PlannedSecret,
    PlannedSkill,
    PlanReport,
)
from pyro_mcp.errors import HostCommandFailed, HostNotReady, InvalidRequest, PyroError
from pyro_mcp.host.process import run
from pyro_mcp.host.programs import find_program

if TYPE_CHECKING:
    from claude_bottle.backend import Backend, BottlePlan, BottleSpec
    from claude_bottle.manifest import AgentConfig, BottleConfig, EgressRule, LoadedManifest, SecretConfig

_GIT_SECONDS = 10.0
_NOT_TRUSTED = (
    "the project's manifest is not approved: 'claude-bottle trust --show' says what it takes from this host, "
    "'claude-bottle trust' approves it"
)
_USER_INFO = re.compile(r"(?<=://)[^/@]*@")
_PASSWORD = re.compile(r"://[^/@:]*:[^/@]+@")


@dataclass(frozen=True)
class LaunchRequest:
    """The request to launch an agent, with the manifest that describes it."""

    loaded: LoadedManifest
    spec: BottleSpec

    @property
    def agent(self) -> AgentConfig:
        return self.spec.manifest.agent(self.spec.agent_name)

    @property
    def bottle(self) -> BottleConfig:
        return self.spec.manifest.bottle_of(self.spec.agent_name)

    @property
    def harness(self) -> Harness:
        return harness_of(self.agent)

    @property
    def secrets(self) -> dict[str, SecretConfig]:
        return dict(all_secrets(self.spec.manifest, self.spec.agent_name))


def require_launchable(request: LaunchRequest, backend: Backend) -> None:
    """Raise an error with every reason why a launch would fail; read no secret before the manifest is approved."""
    require_trust(request.loaded)
    if problems := backend.problems():
        raise HostNotReady("\n".join(problems), hint="'claude-bottle doctor' shows what each backend needs")
    if problems := list(_problems(request)):
        raise InvalidRequest("\n".join(problems), hint=f"'claude-bottle plan {request.spec.agent_name}' shows the plan")


def plan_report(request: LaunchRequest, backend: Backend, plan: BottlePlan) -> PlanReport:
    """Return everything that a launch of this plan will do."""
    spec, agent, bottle = request.spec, request.agent, request.bottle
    trusted = is_trusted(request.loaded)
    problems = [*([] if trusted else [_NOT_TRUSTED]), *backend.problems(), *_problems(request, look=trusted)]
    skills: list[PlannedSkill] = []
    if not problems:
        skills = [
            {"name": one.name, "folder": one.folder, "files": one.files, "size_bytes": one.size_bytes}
            for one in check_skills(agent.skills)
        ]
    git, warnings = _git(request)
    prompt_path = f"~/{PROMPT_NAME}" if agent.prompt else None
    return {
        "agent": spec.agent_name,
        "bottle": agent.bottle,
        "backend": backend.name,
        "harness": request.harness.name,
        "command": request.harness.argv(agent, spec.args, prompt_path=prompt_path),
        "environment": bottle.environment,
        "packages": list(bottle.packages),
        "resources": {
            "vcpu_count": bottle.resources.vcpu_count,
            "mem_mib": bottle.resources.mem_mib,
            "ttl_seconds": bottle.resources.ttl_seconds,
        },
        "accelerator": bottle.accelerator,
        "copied_folder": spec.user_cwd if spec.copy_cwd else None,
        "hosts": list(_hosts(request)),
        "budget": planned_limits(bottle.model_dump(mode="json")["budget"] or {}),
        "secrets": [_secret(name, one) for name, one in sorted(request.secrets.items())],
        "variables": {name: value for name, value in sorted(plan.guest_env.items()) if name not in request.secrets},
        "git": git,
        "may_ask_for": [] if bottle.supervise is None else list(bottle.supervise.capabilities),
        "login": _login(request),
        "prompt_bytes": len(agent.prompt.encode(errors="replace")),
        "skills": skills,
        "steps": list(backend.steps(plan)),
        "problems": problems,
        "warnings": [
            *warnings,
            *_personal_folder(request),
            *meter_warnings(_allowed(request), bottle),
            *_unreachable_secrets(request),
            *_keyless(request),
        ],
        "origins": list(_origins(request)),
    }


def _problems(request: LaunchRequest, *, look: bool = True) -> Iterator[str]:
    """Yield why a launch would fail, except for its backend's reasons; read nothing of this host unless `look`."""
    path = f"bottles.{request.agent.bottle}"
    for problem in meter_problems(_allowed(request), request.bottle):
        yield f"{path}.{problem}"
    if not look:
        return
    for program in ("git", "bwrap") if request.bottle.git.remotes else ():
        if find_program(program) is None:
            yield f"{path}.git.remotes: the git gate needs the program {program}, which is not installed"
    for name, secret in request.secrets.items():
        if problem := _unreadable(secret):
            yield f"{path}.secrets.{name}: {problem}"
    try:
        check_skills(request.agent.skills)
    except PyroError as error:
        yield f"agents.{request.spec.agent_name}.skills: {error.message}"


def _unreadable(secret: SecretConfig) -> str:
    """Return why the value of a secret cannot be read on this host; "" when it can."""
    if secret.env is not None:
        return "" if os.environ.get(secret.env) else f"the variable {secret.env} of this host is not set"
    path = os.path.expanduser(secret.file or "")
    return "" if os.path.isfile(path) and os.access(path, os.R_OK) else f"the file {path} cannot be read"


def _hosts(request: LaunchRequest) -> Iterator[PlannedHost]:
    """Yield what the bottle may reach: the API of its model, and what the manifest allows."""
    from claude_bottle.backend.gateway_policy import hosts_of_harness  # noqa: PLC0415 - slow to import

    reasons = hosts_of_harness(request.spec.manifest, request.spec.agent_name)
    rules = _allowed(request)
    for number, rule in enumerate(rules, len(request.bottle.egress) - len(rules)):  # ours come first: below 0
        listed = f"bottles.{request.agent.bottle}.egress[{number}]"
        yield {
            "host": rule.host,
            "methods": None if rule.methods is None else list(rule.methods),
            "paths": None if rule.paths is None else list(rule.paths),
            "upstream": rule.upstream,
            "meter": rule.meter,
            "reason": reasons[rule.host.removesuffix(":443")] if number < 0 else listed,
        }


def _allowed(request: LaunchRequest) -> tuple[EgressRule, ...]:
    from claude_bottle.backend.gateway_policy import allowed  # noqa: PLC0415 - slow to import

    return allowed(request.spec.manifest, request.spec.agent_name)


def _secret(name: str, secret: SecretConfig) -> PlannedSecret:
    if secret.query is not None:
        placed = f"query parameter {secret.query}"
    elif secret.basic is not None:
        placed = f"Basic password of {secret.basic}"
    else:
        placed = f"header {secret.header}"
    source = f"variable {secret.env}" if secret.env is not None else f"file {secret.file}"
    return {"name": name, "source": source, "placed": placed, "hosts": list(secret.hosts), "ask": secret.ask}


def _login(request: LaunchRequest) -> PlannedLogin | None:
    """Return the login that is kept for the agent, without its content; None when none is kept on request."""
    if request.agent.login is None:
        return None
    login = kept_login(request.spec.agent_name, request.harness.name)
    return {"kept_at": login.kept_at if login.files else None}


def _personal_folder(request: LaunchRequest) -> Iterator[str]:
    """Yield a warning if the copied folder has more than a project: a home, what is above it, or keys."""
    folder, home = Path(request.spec.user_cwd).resolve(), Path.home().resolve()
    if not request.spec.copy_cwd:
        return
    if home.is_relative_to(folder):
        yield f"the copied folder {folder} is or contains your home, with its keys, logins and other projects"
    elif (folder / ".ssh").exists():
        yield f"the copied folder {folder} has a folder .ssh, and the agent can read the keys in it"


def _keyless(request: LaunchRequest) -> Iterator[str]:
    """Yield a warning if the agent has neither an API key nor a login for its model's API."""
    key = request.harness.key
    if key is not None and not request.agent.login and key.variable not in {**request.secrets, **request.bottle.env}:
        yield (
            f'the agent has no API key: set {key.variable} on this computer, or write login = "keep" in '
            f"agents.{request.spec.agent_name} to use a subscription"
        )


def _unreachable_secrets(request: LaunchRequest) -> Iterator[str]:
    """Yield a warning for each host of a secret that the bottle may not reach."""
    allowed = [one["host"].partition(":")[0] for one in _hosts(request)]
    for name, secret in sorted(request.secrets.items()):
        for host in secret.hosts:
            if not any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in allowed):
                yield f"secret {name} is for {host}, which the bottle may not reach: add it to egress"


def _git(request: LaunchRequest) -> tuple[PlannedGit, list[str]]:
    """Return the author of commits, the remotes of the copied folder, and a warning for each password in them."""
    found = _remotes(Path(request.spec.user_cwd)) if request.spec.copy_cwd else []
    warnings = [
        f"{name} has a password in .git/config, which is left out of the copy"
        for name, url in found
        if _PASSWORD.search(url)
    ]
    user_name, user_email = request.bottle.git.author(request.spec.agent_name)
    return {
        "user_name": user_name,
        "user_email": user_email,
        "remotes": [{"name": name, "url": _USER_INFO.sub("", url)} for name, url in found],
        "gate": list(_gate(request)),
    }, warnings


def _gate(request: LaunchRequest) -> Iterator[PlannedGateRemote]:
    """Yield what the bottle may fetch and push at each remote."""
    for remote in request.bottle.git.declared():
        yield {
            "name": remote.name,
            "url": remote.url,
            "fetch": remote.fetch,
            "push": [{"ref": rule.ref, "approve": rule.approve} for rule in remote.push],
        }


def _remotes(folder: Path) -> Sequence[tuple[str, str]]:
    """Return the name and the URL of each remote of a repository; nothing for a folder that is no repository."""
    argv = ["git", "-C", str(folder), "config", "--null", "--get-regexp", r"^remote\..*\.url$"]
    try:
        lines = run(argv, deadline_seconds=_GIT_SECONDS).stdout.decode(errors="replace").split("\0")
    except HostCommandFailed:  # there is no such key, or no repository
        return []
    pairs = (line.partition("\n")[::2] for line in lines if line)
    return [(key.removeprefix("remote.").removesuffix(".url"), url) for key, url in pairs]


def _origins(request: LaunchRequest) -> Iterator[KeyOrigin]:
    """Yield the file that each key of this agent and its bottle came from."""
    wanted = (("agents", request.spec.agent_name), ("bottles", request.agent.bottle))
    for one in sorted(request.loaded.settings, key=lambda setting: setting.path):
        if one.where[:2] in wanted:
            yield {"key": one.path, "file": one.file}
