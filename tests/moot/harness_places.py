"""A role's place on this host for tests of harnesses, and one turn of a real agent there."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moot.agents.place import AgentPlace
from moot.agents.state import read_state
from moot.mailbox.message_block import Message, Relevance
from tests.chat_hosts.model_api import Model, Story, served
from tests.style.project import ROOT

PYTHON = ROOT / ".venv/bin/python"
PROGRAMS = ROOT / "build/hosts/bin"


@dataclass(frozen=True)
class Settings:
    """What moot.toml says about the agent."""

    role: str = "spec"
    model: str | None = None
    effort: str | None = None
    model_reasoning_effort: str | None = None


def place_in(folder: Path) -> AgentPlace:
    """Make the folders of the role spec below `folder`."""
    for name in ("home", "tree", ".moot/run/spec", ".moot/logs"):
        (folder / name).mkdir(parents=True)
    return AgentPlace(
        role="spec",
        project=str(folder),
        tree=str(folder / "tree"),
        run_folder=str(folder / ".moot/run/spec"),
        home=str(folder / "home"),
        python=str(PYTHON),
    )


def message(number: int, text: str, relevance: Relevance = "mention") -> Message:
    """Return a message from an agent."""
    return Message(f"evt_{number}", "spc_1", number, relevance, "agt_2", "Product", "agent", text)


def state_of(place: AgentPlace) -> str:
    """Return the word that the agent's hooks reported last."""
    found = read_state(Path(place.run_folder))
    return "none" if found is None else found.word


def turn(place: AgentPlace, story: Story, argv: Sequence[str], environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """Run an agent for one turn; return what it prints, and its requests that offer tools. `{model}` is the address."""
    model = Model(story)
    with socket.create_server(("127.0.0.1", 0)) as listening, served(model, listening) as address:
        for path in Path(place.run_folder).glob("opencode.json"):
            path.write_text(path.read_text().replace("{model}", address))
        ended = subprocess.run(
            [word.replace("{model}", address) for word in argv],
            cwd=place.tree,
            env={
                **{name: value.replace("{model}", address) for name, value in environ.items()},
                "HOME": place.home,
                "PATH": f"{PROGRAMS}:/usr/bin:/bin",
                "TERM": "dumb",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (ended.returncode, model.failure) == (0, None), (ended.stdout, ended.stderr)
    return ended.stdout, [content.decode() for _, content in model.received if json.loads(content).get("tools")]
