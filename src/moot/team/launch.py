"""The launch of a team's agents: what each needs is checked, prepared and started, and its readiness is observed.

A role that fails does not stop the others. Nothing is made for a role whose harness, key or secret is missing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from moot.agents.place import AgentPlace
from moot.agents.state import read_state
from moot.agents.tmux import session_name
from moot.config import AgentConfig, MootConfig, load_actors, resolve_env
from moot.harness import Harness
from moot.runtimes import AgentStart, Runtime
from moot.team.committed_files import missing_text
from pyro_mcp.errors import Conflict, DeadlineExceeded, HostNotReady, InvalidRequest, NotFound, PyroError, own_error
from pyro_mcp.host.files import locked, private_directory

Say = Callable[[str], None]
Result = TypeVar("Result")

STARTED, ALREADY_RUNNING, FAILED = "started", "already_running", "failed"
WAITING_FOR_YOU = "waiting_for_you"
"""It runs, and shows a dialog that only a person may answer."""
READY_SECONDS = 60.0
LOGIN_SECONDS = 900.0
"""How long a person may take to log in, in the terminal of the first agent."""
_LOCK_SECONDS = 30.0
_LOOK_AGAIN = 1.0
_EXIT_CODE_SECONDS = 15.0
_MOST_KEYS = 10
_SHOWN_LINES = 12


@dataclass(frozen=True)
class RoleReport:
    """What became of one role. `message` and `hint` say why it failed, or what it asks."""

    role: str
    outcome: str
    session: str
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class _Prepared:
    """A role that can be started."""

    agent: AgentConfig
    harness: Harness
    place: AgentPlace
    variables: Mapping[str, str]
    """What its agent gets beside the environment of the runtime; it may hold secrets."""
    own: Mapping[str, str]
    """Those variables that are moot's own."""


class Launch:
    """One launch: of all roles of 'moot up', or of the one of 'moot exec'."""

    def __init__(self, config: MootConfig, runtime: Runtime, say: Say, *, ready_seconds: float = READY_SECONDS) -> None:
        self._config, self._runtime, self._say = config, runtime, say
        self._ready_seconds = ready_seconds
        self._reports: dict[str, RoleReport] = {}
        self._stop = threading.Event()

    def run(self, roles: Sequence[str], *, prompt: str | None = None, may_log_in: bool = True) -> list[RoleReport]:
        """Start these roles and wait until each is ready; return a report for each, in this order.

        Where a harness has no login yet, one agent is started first, and the others when a person has logged in there;
        unless `may_log_in`, such a role fails. Raises what stops all of them: the runtime is not ready, for example.
        """
        agents = [self._config.agent(role) for role in roles]
        self._runtime.prepare(self._say)
        running = {role for role, one in self._runtime.agents().items() if one.alive}
        for role in (one for one in roles if one in running):
            self._report(role, ALREADY_RUNNING)
        checked = [one for one in agents if one.role not in running and self._guarded(one.role, self._check, one)]
        prepared = [one for agent in checked if (one := self._guarded(agent.role, self._prepare, agent))]
        self._warn_of_missing_files([one.agent.role for one in prepared])
        first, later = self._in_order_of_login(prepared, may_log_in=may_log_in)
        for one in first:
            if self._guarded(one.agent.role, self._start, one, prompt) and self._guarded(
                one.agent.role, self._await_login, one
            ):
                self._report(one.agent.role, STARTED)
        started = [one for one in self._staggered(later, after=bool(first)) if self._start_one(one, prompt)]
        self._await_all(started)
        return [self._reports[role] for role in roles]

    def _warn_of_missing_files(self, roles: Sequence[str]) -> None:
        what, advice = missing_text(self._config.root, roles)
        if what:
            self._say(f"Warning: {what}.\n  " + advice.replace("\n", "\n  "))

    # What can be found out before anything is made

    def _check(self, agent: AgentConfig) -> bool:
        harness = self._runtime.harness(agent.harness)
        harness.check(agent)
        if not self._runtime.has_program(harness.program):
            raise HostNotReady(f"the program {harness.program} is not installed", hint=harness.install_hint)
        actors = load_actors(self._config.root)
        if actors is None or not getattr(actors.actors.get(agent.role), "api_key", ""):
            raise NotFound(
                f"there is no key for the role {agent.role} in .moot/actors.json",
                hint="'moot init' gives the agents keys and writes the file",
            )
        actors.require_server(self._config.api_url)
        variables = resolve_env(agent)
        if self._runtime.is_root():
            harness.check_root(self._config.permission_mode, self._runtime.environment(variables))
        return True

    # The start of one role

    def _prepare(self, agent: AgentConfig) -> _Prepared:
        runtime, harness = self._runtime, self._runtime.harness(agent.harness)
        with self._locked(agent.role):
            self._end_dead(agent.role)
            place = runtime.make_place(agent.role)
            own = self._own_variables(place)
            mode = self._config.permission_mode
            variables = {**harness.variables(agent, place, permission_mode=mode), **resolve_env(agent), **own}
            environ = runtime.environment(variables)
            harness.seed(agent, place, runtime.files, environ=environ, permission_mode=mode)
            return _Prepared(agent, harness, place, variables, own)

    def _own_variables(self, place: AgentPlace) -> dict[str, str]:
        actors = load_actors(self._config.root)
        space_id = self._config.space_id or (actors.space_id if actors else "")
        return {
            "CONVO_ROLE": place.role,
            "CONVO_API_URL": self._config.api_url,
            "CONVO_WORKTREE": place.tree,
            "CONVO_TMUX_SESSION": session_name(place.role),
            **({"CONVO_SPACE_ID": space_id} if space_id else {}),
        }

    def _start(self, one: _Prepared, prompt: str | None) -> bool:
        agent, place = one.agent, one.place
        words = one.harness.argv(
            agent,
            place,
            prompt=agent.startup_prompt if prompt is None else prompt,
            permission_mode=self._config.permission_mode,
        )
        notify = (place.python, "-P", "-m", "moot.adapters.notify_runner")
        start = AgentStart(
            role=agent.role,
            argv=tuple(words),
            environment=one.variables,
            notify=notify,
            notify_environment=one.own,
            colour=agent.theme,
        )
        with self._locked(agent.role):
            self._runtime.start(start)
        return True

    def _start_one(self, one: _Prepared, prompt: str | None) -> bool:
        return bool(self._guarded(one.agent.role, self._start, one, prompt))

    def _end_dead(self, role: str) -> None:
        """Remove what an agent that has ended left. Raises `Conflict` when one runs: another 'moot up' was faster."""
        found = self._runtime.agents().get(role)
        if found is not None and found.alive:
            raise Conflict(f"{role} was started meanwhile", hint="'moot status' shows the agents")
        self._runtime.stop(role)

    def _staggered(self, prepared: Sequence[_Prepared], *, after: bool) -> Iterator[_Prepared]:
        """Yield the roles with the configured pause between them."""
        for number, one in enumerate(prepared):
            if (number or after) and self._config.launch_stagger_seconds:
                self._stop.wait(self._config.launch_stagger_seconds)  # a server may want its clients one by one
            yield one

    # Login

    def _in_order_of_login(
        self, prepared: Sequence[_Prepared], *, may_log_in: bool
    ) -> tuple[list[_Prepared], list[_Prepared]]:
        """Return the roles to start before the others, in whose terminals a person logs in, and the others."""
        waiting: dict[str, list[_Prepared]] = {}
        for one in prepared:
            if not self._logged_in(one):
                waiting.setdefault(one.harness.name, []).append(one)
        first = []
        for name, group in waiting.items():
            chosen = self._role_of_login(name, group)
            if may_log_in and chosen is not None:
                first.append(chosen)
                continue
            interface = self._config.human_interface
            for one in group:
                error = HostNotReady(
                    f"{one.harness.program} is not logged in",
                    hint=f"start the role {interface} too ('moot up' does), and log in in its terminal",
                )
                self._failed(one.agent.role, error)
        return first, [one for one in prepared if one not in first and one.agent.role not in self._reports]

    def _role_of_login(self, harness: str, group: Sequence[_Prepared]) -> _Prepared | None:
        """Return the role in whose terminal a person logs in: the human interface if it has this harness."""
        interface = self._config.human_interface
        if interface in self._config.agents and self._config.agents[interface].harness == harness:
            return next((one for one in group if one.agent.role == interface), None)
        return group[0]

    def _logged_in(self, one: _Prepared) -> bool:
        return one.harness.logged_in(one.place, self._runtime.files, environ=self._runtime.environment(one.variables))

    def _await_login(self, one: _Prepared) -> bool:
        """Wait until a person has logged in in the agent's terminal. Raises `DeadlineExceeded` after 15 minutes."""
        role = one.agent.role
        self._say(f"First-time setup: {one.harness.program} is not logged in yet.")
        self._say(f"  1. In another terminal: moot attach {role}")
        self._say("  2. Log in there, and answer what it asks.")
        self._say("  3. Stay attached or detach; the other agents start as soon as you are logged in.")
        end = time.monotonic() + LOGIN_SECONDS
        with self._runtime.watch(role) as watch:
            while not self._logged_in(one):
                self._require_alive(role)
                if time.monotonic() >= end:
                    raise DeadlineExceeded(
                        f"nobody logged in to {one.harness.program} within 15 minutes", hint="run 'moot up' again"
                    )
                watch.wait(_LOOK_AGAIN)
        return True

    # Readiness

    def _await_all(self, started: Sequence[_Prepared]) -> None:
        if not started:
            return
        with ThreadPoolExecutor(len(started)) as threads:
            try:
                futures = [threads.submit(self._guarded, one.agent.role, self._await_ready, one) for one in started]
                for one, future in zip(started, futures, strict=True):
                    role, question = one.agent.role, future.result()
                    if question:
                        self._report(role, WAITING_FOR_YOU, f"it asks {question}", f"answer it: moot attach {role}")
                    elif question is not None:
                        self._report(role, STARTED)
            except BaseException:
                self._stop.set()
                raise

    def _await_ready(self, one: _Prepared) -> str | None:
        """Wait until the hooks of the agent report a state, or without such hooks, until it has printed something.

        Return "" then, what its start-up dialog asks if only a person may answer it, and None when the launch ends. A
        dialog that the harness may answer is answered while it is on the screen.
        """
        role, run_folder = one.agent.role, self._config.root / ".moot/run" / one.agent.role
        end, answered, asked = time.monotonic() + self._ready_seconds, 0, ""
        with self._runtime.watch(role) as watch:
            while not self._stop.is_set():
                if one.harness.reports_state and read_state(run_folder) is not None:
                    return ""
                self._require_alive(role)
                screen = self._runtime.screen(role)
                if not one.harness.reports_state and screen.strip():
                    return ""
                if answered < _MOST_KEYS and (key := one.harness.startup_key(screen)):
                    self._runtime.press(role, key)
                    answered += 1
                question = one.harness.startup_question(screen)
                if question and question == asked:  # twice: a screen may be seen while it is drawn
                    return question
                asked = question
                if time.monotonic() >= end:
                    raise DeadlineExceeded(
                        f"its program runs, but was not ready within {self._ready_seconds:g} s:\n{last_lines(screen)}",
                        hint=f"it may wait for an answer: moot attach {role}",
                    )
                watch.wait(_LOOK_AGAIN)
        return None

    def _require_alive(self, role: str) -> None:
        end = time.monotonic() + _EXIT_CODE_SECONDS
        found = self._runtime.agents().get(role)
        # A terminal ends a moment before its program, whose exit code is then not known yet.
        while found is not None and not found.alive and found.exit_code is None and time.monotonic() < end:
            self._stop.wait(0.02)
            found = self._runtime.agents().get(role)
        if found is None:
            raise Conflict(f"{role} was stopped meanwhile", hint=f"'moot exec {role}' starts it again")
        if not found.alive:
            code = "" if found.exit_code is None else f" with exit code {found.exit_code}"
            raise HostNotReady(
                f"its program ended{code}:\n{last_lines(self._runtime.screen(role))}",
                hint=f"'moot attach {role}' shows all of it; then 'moot exec {role}' starts it again",
            )

    # Reports

    @contextmanager
    def _locked(self, role: str) -> Iterator[None]:
        folder = private_directory(self._config.root / ".moot" / "run")
        with role_lock(folder, role):
            yield

    def _guarded(self, role: str, act: Callable[..., Result], *arguments: object) -> Result | None:
        """Return what `act` returns; report the role as failed, and return None, when it raises."""
        try:
            return act(*arguments)
        except PyroError as error:
            self._failed(role, error)
        except OSError as error:
            self._failed(role, own_error(error))
        return None

    def _failed(self, role: str, error: PyroError) -> None:
        self._report(role, FAILED, error.message, error.hint)

    def _report(self, role: str, outcome: str, message: str = "", hint: str = "") -> None:
        self._reports[role] = RoleReport(role, outcome, self._runtime.label(role), message, hint)


@contextmanager
def role_lock(folder: Path, role: str) -> Iterator[None]:
    """Hold the lock of a role in the folder of all run folders, while it is started or stopped."""
    path = folder / f"{role}.lock"
    if path.is_symlink():  # made by somebody else, and the lock would make a file where it leads
        path.unlink(missing_ok=True)
    with locked(path, deadline_seconds=_LOCK_SECONDS, what=f"the role {role}"):
        yield


def last_lines(screen: str) -> str:
    """Return the end of a screen, or words that say that it is empty."""
    lines = [line.rstrip() for line in screen.splitlines() if line.strip()]
    return "\n".join(lines[-_SHOWN_LINES:]) or "(it printed nothing)"


def require_roles(config: MootConfig, only: Sequence[str] | None) -> list[str]:
    """Return the roles to start, each once. Raises `NotFound` for an unknown one, before anything is started."""
    if only is None:
        return config.roles
    roles = list(dict.fromkeys(one.strip() for one in only if one.strip()))
    if not roles:
        raise InvalidRequest("--only names no role", hint=f"choose from {', '.join(config.roles)}")
    return [config.agent(role).role for role in roles]
