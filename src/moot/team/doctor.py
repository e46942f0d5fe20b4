"""What a team needs, checked: programs, `moot.toml`, logins of harnesses, the space server, keys and hooks.

Each check says what it found, or what to do. A check that another one makes meaningless is left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from moot.agents.place import HostCommands, run_there
from moot.client.auth import require_credential
from moot.client.space_client import SpaceClient
from moot.config import Actors, MootConfig, load_actors, moot_folder, require_config, resolve_env
from moot.runtimes import Runtime, runtime_named
from moot.team.committed_files import missing_text
from pyro_mcp.errors import PyroError

_SERVER_SECONDS, _VERSION_SECONDS = 5.0, 20.0
_OLDEST = {"tmux": (3, 2), "git": (2, 36)}
"""The oldest releases that have what this package uses: targets `=name`, and `git worktree list -z`."""
_SETTINGS = ".claude/settings.json"


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, whether it is as it must be, what was found, and what to do if it is not."""

    name: str
    ok: bool
    found: str
    advice: str = ""


class Doctor:
    """The checks of the project that a folder is in."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def checks(self) -> Iterator[Check]:
        """Yield the checks, each as soon as it is made."""
        for program in ("git", "tmux"):
            yield program_version(program)
        try:
            config = require_config(self._folder)
        except PyroError as error:
            yield Check("moot.toml", False, error.message, error.hint)
            return
        yield Check("moot.toml", True, f"{config.path}: {len(config.agents)} roles, runtime {config.runtime}")
        yield from self._runtime(config)
        yield from self._server(config)
        yield from _hooks(config.root)
        try:
            what, advice = missing_text(config.root, config.roles)
        except PyroError as error:
            what, advice = error.message, error.hint
        if what:
            yield Check("worktrees", False, what, advice)

    def _runtime(self, config: MootConfig) -> Iterator[Check]:
        try:
            runtime = runtime_named(config.runtime, config.root)
        except PyroError as error:
            yield Check(f"runtime {config.runtime}", False, error.message, error.hint)
            return
        for what, found, advice in runtime.check():
            if what not in _OLDEST:
                yield Check(what, not advice, found, advice)
        for name in dict.fromkeys(one.harness for one in config.agents.values()):
            yield self._attempt(f"harness {name}", lambda name=name: _harness(config, runtime, name))  # type: ignore[misc]
        for role, agent in config.agents.items():
            if agent.env:
                yield self._attempt(f"variables of {role}", lambda agent=agent: f"{len(resolve_env(agent))}")  # type: ignore[misc]

    def _server(self, config: MootConfig) -> Iterator[Check]:
        actors = None
        try:
            actors = load_actors(config.root)
        except PyroError as error:
            yield Check("keys", False, error.message, error.hint)
        try:
            with SpaceClient(config.api_url, timeout_seconds=_SERVER_SECONDS) as space:
                space.health()
        except PyroError as error:
            yield Check("space server", False, error.message, error.hint)
            return
        yield Check("space server", True, f"{config.api_url} answers")
        yield self._attempt("your login", lambda: _person(config))
        if actors is None:
            yield Check(
                "keys", False, "there is no .moot/actors.json", "'moot init' gives the agents keys and writes the file"
            )
        else:
            yield _private(moot_folder(config.root) / "actors.json")
            for role in config.roles:
                yield self._attempt(f"key of {role}", lambda role=role: _key(config, actors, role))  # type: ignore[misc]

    def _attempt(self, name: str, look: Callable[[], str]) -> Check:
        try:
            return Check(name, True, look())
        except PyroError as error:
            return Check(name, False, error.message, error.hint)


def program_version(program: str) -> Check:
    """Check the release of a program that prints it for `-V` or `--version`."""
    words = [program, "-V" if program == "tmux" else "--version"]
    try:
        found = run_there(HostCommands(), words, deadline_seconds=_VERSION_SECONDS).stdout.decode().strip()
    except PyroError as error:
        return Check(program, False, error.message, error.hint)
    numbers = re.search(r"(\d+)\.(\d+)", found)
    oldest = _OLDEST[program]
    if numbers is not None and (int(numbers[1]), int(numbers[2])) < oldest:
        wanted = ".".join(str(one) for one in oldest)
        return Check(program, False, f"{found} is too old", f"install {program} {wanted} or newer")
    return Check(program, True, found)


def _harness(config: MootConfig, runtime: Runtime, name: str) -> str:
    """Return the version of a harness's program and how it is logged in. Raises when it cannot be launched."""
    agents = [one for one in config.agents.values() if one.harness == name]
    harness = runtime.harness(name)
    for agent in agents:
        harness.check(agent)
    if not runtime.has_program(harness.program):
        raise _missing(f"the program {harness.program} is not installed", harness.install_hint)
    place, mode = runtime.place(agents[0].role), config.permission_mode
    environ = runtime.environment({**harness.variables(agents[0], place, permission_mode=mode), **agents[0].env})
    for agent in agents if runtime.is_root() else ():
        harness.check_root(mode, runtime.environment(agent.env))
    if not harness.logged_in(place, runtime.files, environ=environ):
        raise _missing(
            f"{harness.program} is installed, and not logged in",
            f"'moot up' starts {config.human_interface} first, and you log in in its terminal",
        )
    return f"{harness.program} is installed and logged in ({', '.join(one.role for one in agents)})"


def _missing(message: str, hint: str) -> PyroError:
    return PyroError(message, hint=hint)


def _person(config: MootConfig) -> str:
    credential = require_credential(api_url=config.api_url)
    with SpaceClient(config.api_url, credential.token, timeout_seconds=_SERVER_SECONDS) as space:
        return f"you are {space.me().display_name}"


def _key(config: MootConfig, actors: Actors, role: str) -> str:
    one = actors.actors.get(role)
    if one is None or not one.api_key:
        raise _missing("there is no key in .moot/actors.json", "'moot init' gives the agents keys and writes the file")
    actors.require_server(config.api_url)
    with SpaceClient(config.api_url, one.api_key, timeout_seconds=_SERVER_SECONDS) as space:
        me = space.me()
    if me.actor_id != one.actor_id:
        raise _missing(f"the key belongs to {me.actor_id}, not to {one.actor_id}", "'moot init --force' makes new keys")
    return f"it is {me.display_name}'s"


def _private(path: Path) -> Check:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077 or path.stat().st_uid != os.getuid():
        return Check("keys", False, f"{path} has mode {mode:04o}", f"others can read it: chmod 600 {path}")
    return Check("keys", True, f"only you can read {path}")


def _hooks(root: Path) -> Iterator[Check]:
    """Check the hooks that 'moot init' installs; those of the launch come with it."""
    settings = root / _SETTINGS
    if not settings.is_file():
        yield Check("hooks", False, f"there is no {_SETTINGS}", "'moot init --update-suggestions' installs it")
        return
    scripts = sorted((root / ".claude/hooks").glob("*.sh"))
    stuck = [one.name for one in scripts if not os.access(one, os.X_OK)]
    if stuck:
        yield Check("hooks", False, f"not executable: {', '.join(stuck)}", f"chmod +x {root / '.claude/hooks'}/*.sh")
        return
    yield Check("hooks", True, f"{_SETTINGS} and {len(scripts)} scripts")
