"""What the agents of a team do, from their runtime and the reports of their hooks, and what waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moot.agents.state import RUNNING, WAITING, read_state
from moot.client.auth import NotLoggedIn, require_credential
from moot.client.models import ContextEvent
from moot.client.space_client import SpaceClient
from moot.config import Actors, AgentConfig, MootConfig, load_actors
from moot.runtimes import AgentProcess, Runtime
from moot.team.committed_files import missing_text
from pyro_mcp.errors import PyroError

NOT_STARTED, DEAD = "not_started", "dead"
_SERVER_SECONDS = 5.0
_SHOWN_MESSAGES, _SHOWN_TEXT = 20, 200


@dataclass(frozen=True)
class RoleStatus:
    """One role. `since` is when its hooks last reported (seconds since 1970); `unread` is None without the server."""

    role: str
    state: str
    harness: str
    session: str
    since: float | None = None
    exit_code: int | None = None
    unread: int | None = None
    question: str = ""
    """What a dialog at its start asks a person, "" for none."""
    notify: bool | None = None
    """Whether the program that pushes messages into its terminal runs; None when the agent does not run."""


@dataclass(frozen=True)
class Waiting:
    """Something that waits for a person: what, and the command that deals with it ("" for none)."""

    what: str
    role: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class TeamStatus:
    """The whole team. `server_problem` is why the server's part is missing, "" when it is there."""

    waiting: list[Waiting]
    roles: list[RoleStatus]
    server_problem: str = ""
    server_hint: str = ""
    """What to do about that problem, "" for nothing."""


class StatusReport:
    """Collects the status of a team; the server may be down."""

    def __init__(self, config: MootConfig, runtime: Runtime) -> None:
        self._config, self._runtime = config, runtime

    def collect(self) -> TeamStatus:
        """Return the status of all roles, also of agents that run without being in moot.toml any more."""
        processes = self._runtime.agents()
        actors = load_actors(self._config.root)
        unread, messages, problem, hint = self._ask_server(actors)
        names = list(dict.fromkeys([*self._config.roles, *processes]))
        roles = [self._role(role, processes.get(role), unread.get(role)) for role in names]
        uncommitted = self._uncommitted([role for role in self._config.roles if role in processes])
        return TeamStatus([*_waiting(roles), *uncommitted, *messages], roles, problem, hint)

    def _uncommitted(self, roles: Sequence[str]) -> list[Waiting]:
        """Return the agents whose worktrees lack the instructions and hooks of the project."""
        found = ((role, missing_text(self._config.root, [role])[0]) for role in roles)
        return [Waiting("files", role, text, "moot doctor") for role, text in found if text]

    def _role(self, role: str, process: AgentProcess | None, unread: int | None) -> RoleStatus:
        agent = self._config.agents.get(role)
        found = read_state(self._config.root / ".moot/run" / role) if process is not None and process.alive else None
        question = self._question(agent, role) if process and process.alive and agent and not found else ""
        state = found.word if found else WAITING if question else RUNNING
        if process is None or not process.alive:
            state = NOT_STARTED if process is None else DEAD
        return RoleStatus(
            role=role,
            state=state,
            harness=agent.harness if agent else "",
            session=self._runtime.label(role),
            since=found.time if found else None,
            exit_code=process.exit_code if process else None,
            unread=unread,
            question=question,
            notify=process.notify_alive if process and process.alive else None,
        )

    def _question(self, agent: AgentConfig, role: str) -> str:
        try:
            return self._runtime.harness(agent.harness).startup_question(self._runtime.screen(role))
        except PyroError:  # it has ended meanwhile
            return ""

    def _ask_server(self, actors: Actors | None) -> tuple[dict[str, int], list[Waiting], str, str]:
        """Return the unread messages of each role, those that wait for the person, why there are none, and a hint."""
        space_id = self._config.space_id or (actors.space_id if actors else "")
        if actors is None or not space_id:
            return {}, [], "the project has no agents or no space yet", "run 'moot init'"
        token = _token(self._config.api_url)
        keys = [token, *(one.api_key for one in actors.actors.values())]
        key = next((one for one in keys if one), "")
        try:
            actors.require_server(self._config.api_url)
            with SpaceClient(self._config.api_url, key, timeout_seconds=_SERVER_SECONDS) as space:
                known = {role: one for role, one in actors.actors.items() if role in self._config.agents}
                unread = {role: len(space.unread(space_id, one.actor_id)) for role, one in known.items()}
                messages = _messages_to_person(space, space_id) if token else []
        except PyroError as error:
            return {}, [], error.message, error.hint
        if not token:
            return unread, messages, "you are not logged in there, so messages to you are not shown", "run 'moot login'"
        return unread, messages, "", ""


def _token(api_url: str) -> str:
    """Return the person's token for a server, "" when nobody has logged in there."""
    try:
        return require_credential(api_url=api_url).token
    except NotLoggedIn:
        return ""


def _messages_to_person(space: SpaceClient, space_id: str) -> list[Waiting]:
    """Return the unread messages to the person whose token this is, the oldest first."""
    found = space.unread(space_id, space.me().actor_id)
    events = [space.event(space_id, one.event_id) for one in found[:_SHOWN_MESSAGES]]
    shown = [Waiting("message", "", f"{one.speaker_name}: {_first_line(one)}") for one in events]
    more = len(found) - len(shown)
    return [*shown, Waiting("message", "", f"and {more} more messages")] if more > 0 else shown


def _first_line(event: ContextEvent) -> str:
    line = next(iter(event.text.strip().splitlines()), "")
    return line if len(line) <= _SHOWN_TEXT else f"{line[: _SHOWN_TEXT - 1]}…"


def _asked(one: RoleStatus) -> str:
    return f"{one.role} asks {one.question}" if one.question else f"{one.role} waits for permission"


def _waiting(roles: Sequence[RoleStatus]) -> list[Waiting]:
    """Return the agents that wait for a person: permission prompts first, then those that have ended."""
    asking = [
        Waiting("permission", one.role, _asked(one), f"moot attach {one.role}") for one in roles if one.state == WAITING
    ]
    ended = [
        Waiting("dead", one.role, f"{one.role} has ended{_code(one.exit_code)}", f"moot exec {one.role}")
        for one in roles
        if one.state == DEAD
    ]
    silent = [
        Waiting(
            "notify",
            one.role,
            f"no messages are typed to {one.role}: its notify program has ended",
            f"moot down {one.role} && moot exec {one.role}",
        )
        for one in roles
        if one.notify is False
    ]
    return [*asking, *ended, *silent]


def _code(exit_code: int | None) -> str:
    return "" if exit_code is None else f" with exit code {exit_code}"
