"""OpenCode asks a person at its terminal; its state says so, and the answer lets it go on."""

from __future__ import annotations

import json
import os
import shutil
import socket

import pytest

from claude_bottle.harness.agent_state import read_state
from tests.bottles.docker.conftest import Shelf
from tests.bottles.pyro.conftest import API_KEYS, typing_into
from tests.bottles.pyro.test_turns import PROGRAMS
from tests.chat_hosts.model_api import Call, Model, Story, served
from tests.waiting import until

CHANGE = "echo fixed > message.txt"


def test_opencode_reports_that_it_waits_for_a_permission(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def story() -> Story:
        yield Call("bash", {"command": CHANGE, "description": "Fix the message"})
        return "Done."

    for name, value in API_KEYS.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(PROGRAMS["opencode"], shelf.project / "bin")
    (shelf.project / "opencode.json").write_text(json.dumps({"permission": {"bash": "ask"}}))
    model = Model(story())
    with socket.create_server(("127.0.0.1", 0)) as listening, served(model, listening) as address:
        bottle = shelf.launch(
            "opencode",
            args=("--model", "anthropic/claude-sonnet-4-5", "--prompt", "fix the bug"),
            copy=True,
            egress=[{"host": "api.anthropic.com", "upstream": address}],
            env={"PATH": "/workspace/bin:/usr/local/bin:/usr/bin:/bin"},
        )

        def state() -> str:
            found = read_state(bottle)
            if found == "waiting for permission" and model.answers == []:
                os.write(keys, b"\r")
            return found

        bottle.resize(120, 40)
        with typing_into(bottle) as keys:
            until("it asks its model", lambda: list(model.offered), deadline_seconds=180)
            until("it waits", lambda: read_state(bottle), "waiting for permission".__eq__, deadline_seconds=120)
            assert model.answers == []
            until("it is done", state, "idle".__eq__, deadline_seconds=120)

    assert (model.failure, model.closing) == (None, "Done.")
    assert "+fixed" in bottle.diff().patch
