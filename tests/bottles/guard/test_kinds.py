"""What an agent may ask for is one table: the manifest and the tools name the same kinds."""

from __future__ import annotations

from typing import get_args

import pytest

from claude_bottle.guard.kinds import KINDS
from claude_bottle.guard.tools import tools
from claude_bottle.manifest.supervise import Capability


def test_the_manifest_names_each_kind_that_can_be_asked_for() -> None:
    assert get_args(Capability) == tuple(KINDS)


@pytest.mark.parametrize(
    ("kinds", "arguments"),
    [
        (["push"], set()),
        (["host"], {"host"}),
        (["secret", "time"], {"secret", "host", "seconds"}),
        (list(KINDS), {"host", "secret", "seconds", "budget"}),
    ],
)
def test_the_tool_takes_only_the_arguments_of_the_kinds_that_a_bottle_may_ask_for(
    kinds: list[str], arguments: set[str]
) -> None:
    request, _ = tools(kinds)
    assert request["inputSchema"]["properties"].keys() - {"kind", "reason", "wait_seconds"} == arguments
    assert all(f"{kind}: {KINDS[kind].help}" in request["description"] for kind in kinds)
