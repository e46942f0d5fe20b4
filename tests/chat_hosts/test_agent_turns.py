"""A whole turn of each real chat host, without an account: the model is scripted, all else is as users have it.

The host is connected by `pyro host connect`, starts `pyro mcp serve` itself, offers our tools to the model, and carries
the model's calls to a workspace in a real guest and the answers back.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.chat_hosts import result_tokens
from tests.chat_hosts.agents import Prepared, claude, codex, connected_claude, left_running, opencode
from tests.chat_hosts.conftest import Desk
from tests.chat_hosts.model_api import Call, Model, Story, served

CLOSING = "The bug is fixed."
MOST_THAT_EVERY_HOST_PASSES_ON = 12_000
PATCH = "--- a/message.txt\n+++ b/message.txt\n@@ -1 +1 @@\n-broken\n+fixed\n"


def fixing_a_bug(pyro: Pyro, home: Path) -> Story:
    """What the model does: see the check fail, patch, see it pass, review, begin anew, tidy up."""
    answer = yield Call("workspace_create", {"name": "agent"})
    made = pyro.list_workspaces()["workspaces"]
    assert len(made) == 1 and made[0]["workspace_id"] in answer, answer
    assert len(left_running(home)) == 1
    id_ = made[0]["workspace_id"]
    assert "UTC, in 24 h" in answer and "Next: workspace_file_list (look around)" in answer, answer
    assert '"workspace_id"' not in answer and len(answer.encode()) < 600, answer
    assert str(pyro.status_workspace(id_)["execution_mode"]).startswith("guest_")
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": "sh check.sh; uname -n"})
    assert "it says broken" in answer, answer
    answer = yield Call("workspace_exec", {"workspace_id": "no-such-workspace", "command": "true"})
    assert "there is no workspace 'no-such-workspace'" in answer, answer
    answer = yield Call("workspace_patch_apply", {"workspace_id": id_, "patch": PATCH})
    assert "message.txt" in answer, answer
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": "uv pip install --system requests"})
    assert "ask the user to allow the network with 'pyro host connect HOST --network-policy egress'" in answer, answer
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": "seq 1 100000"})
    assert "\n1\n2\n" in answer and "\n99999\n100000\n" in answer, answer
    assert "bytes left out" in answer and "The output was shortened; for the rest, " in answer, answer
    assert len(answer.encode()) <= MOST_THAT_EVERY_HOST_PASSES_ON, answer
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": "sh check.sh"})
    assert "it says fixed" in answer, answer
    answer = yield Call("workspace_diff", {"workspace_id": id_})
    assert "+fixed" in answer and "-broken" in answer, answer
    assert answer.count("fixed") == 1 and "patch_complete" not in answer, answer
    assert pyro.diff_workspace(id_)["changed"]
    yield Call("workspace_reset", {"workspace_id": id_})
    assert not pyro.diff_workspace(id_)["changed"]
    assert pyro.read_workspace_file(id_, "message.txt")["content"] == "broken\n"
    yield Call("workspace_delete", {"workspace_id": id_})
    assert pyro.list_workspaces()["count"] == 0
    return CLOSING


@pytest.mark.parametrize(
    ("prepared", "host"),
    [(claude, "Claude Code"), (connected_claude, "Claude Code"), (codex, "Codex"), (opencode, "OpenCode")],
)
def test_a_host_goes_through_a_whole_turn_with_our_tools(
    prepared: Prepared, host: str, workplace: Desk, pyro: Pyro, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(fixing_a_bug(pyro, workplace.home))
    with served(model, workplace.net.listening) as address:
        done = workplace.run(*prepared(workplace, address, monkeypatch), timeout=240)

    assert model.failure is None, model.failure
    assert (done.returncode, model.closing) == (0, CLOSING), (done.stdout[-2000:], done.stderr[-2000:], model.requests)
    assert CLOSING in done.stdout
    assert left_running(workplace.home) == []
    assert result_tokens.check(host, result_tokens.measured(model.answers)) == []
