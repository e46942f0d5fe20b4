"""Hints for a model name tools and arguments, not commands and options."""

from __future__ import annotations

import pytest

from pyro_mcp import create_server
from pyro_mcp.hints import Argument, Hint, Verb
from pyro_mcp.mcp_server.tool_words import ToolWords


@pytest.mark.parametrize(
    ("hint", "rendered"),
    [
        (Hint("{} shows the workspaces", Verb("workspace list")), "workspace_list shows the workspaces"),
        (Hint("{} shows its output", Verb("workspace service logs")), "service_logs shows its output"),
        (Hint("{} ends it", Verb("workspace stop", force=True)), "workspace_stop(force=true) ends it"),
        (Hint("add {}", Argument("overwrite", True)), "add overwrite=true"),
        (Hint("add {}", Argument("network_policy", "egress")), 'add network_policy="egress"'),
        (Hint("{} gives it more time", Argument("timeout_seconds")), "timeout_seconds gives it more time"),
        (Hint("add {}", Argument("allow_hosts", ["a.example"])), 'add allow_hosts=["a.example"]'),
        (Hint("{} shows what this host lacks", Verb("doctor")), "'pyro doctor' shows what this host lacks"),
        (
            Hint.joined(
                Hint("{} gives bytes", Argument("binary", True)), Hint("{} copies it", Verb("workspace export"))
            ),
            "workspace_export copies it",
        ),
        (
            Hint("ask for {}", Verb("host connect", host="HOST", network_policy="egress")),
            "ask for 'pyro host connect HOST --network-policy egress'",
        ),
    ],
)
def test_a_hint_names_what_a_model_can_call(hint: Hint, rendered: str) -> None:
    assert hint.render(ToolWords()) == rendered


CORE = create_server("workspace-core", no_project_source=True).catalogue.words


@pytest.mark.parametrize(
    ("hint", "rendered"),
    [
        (
            Hint.joined("no network", Hint("create one with {}", Argument("network_policy", "egress"))),
            "no network; ask the user to allow the network with 'pyro host connect HOST --network-policy egress'",
        ),
        (
            Hint("{} makes one that has", Verb("workspace create", network_policy="egress")),
            "ask the user to allow the network with 'pyro host connect HOST --network-policy egress'",
        ),
        (Hint("{} ends it", Verb("workspace stop")), "'pyro workspace stop' ends it"),
        (Hint("{} shows the workspaces", Verb("workspace list")), "workspace_list shows the workspaces"),
    ],
)
def test_what_a_server_does_not_offer_is_left_to_the_user(hint: Hint, rendered: str) -> None:
    assert hint.render(CORE) == rendered
