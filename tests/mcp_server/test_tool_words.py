"""A model is told of tools and arguments, not of a command line."""

from __future__ import annotations

import pytest

from pyro_mcp import create_server
from pyro_mcp.mcp_server.tool_words import in_tool_words


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        ("'pyro workspace list' shows those there are", "workspace_list shows those there are"),
        ("'pyro workspace service logs' shows all it wrote", "service_logs shows all it wrote"),
        ("'pyro workspace file list ID' tells", "workspace_file_list tells"),
        ("add --overwrite", "add overwrite"),
        ("add --network-policy egress, or leave them out", "add network_policy egress, or leave them out"),
        ("'pyro doctor' tells what this host lacks", "'pyro doctor' tells what this host lacks"),
        ("--base64 gives its bytes, 'pyro workspace export' copies it", "workspace_export copies it"),
        ("add --allow-host NAME", "add allow_hosts NAME"),
        ("ask for 'pyro host connect HOST --mode inspect'", "ask for 'pyro host connect HOST --mode inspect'"),
        ("a -- b, x--y and -v", "a -- b, x--y and -v"),
        ("the nearest lines there are:\n  7  run --fast", "the nearest lines there are:\n  7  run --fast"),
    ],
)
def test_a_hint_names_what_a_model_can_call(hint: str, told: str) -> None:
    assert in_tool_words(hint) == told


CORE = create_server("workspace-core", no_project_source=True)._catalogue.offered


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        (
            "no network; create one with --network-policy egress",
            "no network; ask the user to allow the network with 'pyro host connect HOST --network-policy egress'",
        ),
        ("'pyro workspace start' starts it", "'pyro workspace start' starts it"),
        ("'pyro workspace list' shows those there are", "workspace_list shows those there are"),
    ],
)
def test_what_a_server_does_not_offer_is_left_to_the_user(hint: str, told: str) -> None:
    assert in_tool_words(hint, CORE) == told
