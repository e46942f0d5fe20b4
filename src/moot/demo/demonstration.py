"""The steps of the demonstration, from the server's start to the removed folder."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moot.client.models import ContextEvent
from moot.client.space_client import SpaceClient
from moot.demo.players import FILES, LAST_WORDS, implementation, qa
from moot.demo.scripted_model import Player, serving
from moot.demo.world import World, new_world, processes_of
from pyro_mcp.agent_programs import claude_code
from pyro_mcp.errors import DeadlineExceeded, PyroError
from pyro_mcp.host.programs import require_program

Say = Callable[[str], None]
ROLES = ("implementation", "qa")
_PLAY_SECONDS, _DELIVERY_SECONDS = 180.0, 60.0
_LOOK_AGAIN = 0.2


class DemoFailed(PyroError):
    """The agents did not do what the script said."""


@dataclass
class DemoReport:
    """What the demonstration did: the time of each step, the messages, and what became of each."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    left: int = 0
    """How many processes were left after 'moot down' and the end of the server."""


def demonstrate(say: Say) -> DemoReport:
    """Run the demonstration; `say` gets a sentence for each thing that happens. Everything is removed at the end.

    Raises `DemoFailed` when the agents did not do what the script said, and `DeadlineExceeded` when they did not end.
    """
    for program in ("git", "tmux", "python3"):
        require_program(program)
    report = DemoReport()
    with _timed(report, "find Claude Code"):
        claude = claude_code()
    tell = _teller(say)
    plays = {"implementation": implementation(tell), "qa": qa(tell)}
    players = {role: Player(play, LAST_WORDS[role]) for role, play in plays.items()}
    keys = {role: f"sk-ant-demo-{role}-{secrets.token_hex(20)}" for role in ROLES}
    with new_world(claude) as world, serving({keys[role]: players[role] for role in ROLES}) as model:
        world.make(FILES, {f"{role.upper()}_KEY": key for role, key in keys.items()})
        with world.server() as (address, token):
            say(f"'moot serve' runs a space server at {address}")
            with _timed(report, "login and init"):
                _join(world, address, token, model, say)
            with _timed(report, "up"):
                say("'moot up' starts two agents, each in a worktree and a terminal of its own")
                world.moot("up", "--only", ",".join(ROLES))
            try:
                with _timed(report, "hand-off"):
                    _watch(players, world)
                with _timed(report, "delivery"):
                    report.messages = _delivered(world, address, players)
            finally:
                say("'moot down' ends the agents")
                with _timed(report, "down"):
                    world.moot("down")
        report.left = len(processes_of(world.folder))
    say("the server has ended, and the folder with everything in it is removed")
    return report


def _join(world: World, address: str, token: str, model: str, say: Say) -> None:
    world.moot("login", "--api-url", address, given=f"{token}\n")
    world.moot("init", "--template", "loop-4", "--yes")
    say("'moot login' and 'moot init' give the project a team of four, with a key for each")
    settings = world.project / "moot.toml"
    lines = [settings.read_text().rstrip(), "launch_stagger_seconds = 0"]
    for role in ROLES:
        lines += ["", f"[agents.{role}.env]", f'ANTHROPIC_API_KEY = "${{secret:{role.upper()}_KEY}}"']
        lines += [f"{name} = {json.dumps(value)}" for name, value in _variables(model).items()]
    settings.write_text("\n".join(lines) + "\n")
    world.commit("Add the team")


def _variables(model: str) -> dict[str, str]:
    found = {
        "ANTHROPIC_BASE_URL": model,
        "ENABLE_TOOL_SEARCH": "false",  # else tools of servers are offered only after the model has searched for them
        "CLAUDE_CODE_MCP_STARTUP_WAIT_MS": "60000",
        "MCP_CONNECT_TIMEOUT_MS": "60000",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    # Claude Code refuses to work for root without asking, unless it is told that this is a sandbox. It runs a script.
    return found | ({"IS_SANDBOX": "1"} if os.geteuid() == 0 else {})


def _watch(players: dict[str, Player], world: World) -> None:
    """Wait until the scripts of both models have ended."""
    end = time.monotonic() + _PLAY_SECONDS
    for role, player in players.items():
        if not player.resting.wait(max(0.0, end - time.monotonic())):
            raise DeadlineExceeded(
                f"{role} did not end within {_PLAY_SECONDS:g} s: {_state(world)}",
                hint="try again when this host is idle",
            )
        if player.failure:
            raise DemoFailed(f"{role}: {player.failure}")


def _state(world: World) -> str:
    return " ".join(world.moot("status").decode(errors="replace").split())


def _delivered(world: World, address: str, players: dict[str, Player]) -> list[dict[str, Any]]:
    """Return the messages that were handed over, each with its delivery, once all are acknowledged."""
    actors = json.loads((world.project / ".moot/actors.json").read_text())
    space_id, own = actors["space_id"], actors["actors"]
    ids = {own[role]["actor_id"]: role for role in ROLES}
    found: list[dict[str, Any]] = []
    with SpaceClient(address, own[ROLES[0]]["api_key"]) as client:
        sent = [one for one in client.events(space_id, limit=200) if one.speaker_id in ids and _mentions(one)]
        for event in sent:
            recipient = next(one for one in _mentions(event) if one in ids)
            found.append(
                {
                    "from": ids[event.speaker_id],
                    "to": ids[recipient],
                    "text": event.text,
                    "read": players[ids[recipient]].copies[event.event_id],
                    "delivery": _settled(client, space_id, event, recipient),
                }
            )
    return found


def _mentions(event: ContextEvent) -> list[str]:
    return [str(one) for one in (event.metadata or {}).get("mentions") or ()]


def _settled(client: SpaceClient, space_id: str, event: ContextEvent, recipient: str) -> str:
    """Return the state of a delivery, once it is acknowledged or the time is over."""
    end = time.monotonic() + _DELIVERY_SECONDS
    while True:
        states = [one.state for one in client.deliveries_of(space_id, event.event_id) if one.recipient_id == recipient]
        if states == ["acknowledged"] or time.monotonic() > end:
            return states[0] if states else "none"
        time.sleep(_LOOK_AGAIN)  # the server has no event for an acknowledgement


def _teller(say: Say) -> Callable[[str, str], None]:
    names = {"implementation": "Implementation", "qa": "QA"}
    return lambda role, sentence: say(f"{names[role]} {sentence}")


@contextmanager
def _timed(report: DemoReport, name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    report.steps.append({"name": name, "seconds": round(time.monotonic() - started, 1)})
