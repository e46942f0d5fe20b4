"""The tools of a server reach only workspaces that no program keeps for itself, with no more network than its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import mcp_types as mcp
import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.engine.fake import outcome as ended
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.machines.phases import Phase
from pyro_mcp.mcp_server.network_bounds import Reach
from pyro_mcp.mcp_server.permitted import permitted
from pyro_mcp.mcp_server.profiles import BY_NAME
from pyro_mcp.results import MANAGED_BY

MANAGED = {MANAGED_BY: "another program", "mine": "yes"}
UNTOUCHED = {"workspace_create", "workspace_list", "workspace_adopt"}


@pytest.fixture
def pyro(fake_home: Path) -> Pyro:
    assert fake_home.is_dir()
    return Pyro(engine=FakeEngine(lambda _: ended(stdout=b"out\n")))


def call(pyro: Pyro, name: str, arguments: Mapping[str, Any], **options: Any) -> mcp.CallToolResult:
    server = pyro.create_server("workspace-full", no_project_source=True, **options)
    return anyio.run(server.call_tool, name, arguments)


def text(result: mcp.CallToolResult) -> str:
    (part,) = result.content
    assert isinstance(part, mcp.TextContent)
    return part.text


def arguments_of(tool: str, id_: str) -> dict[str, Any]:
    """Return arguments that the schema of a tool accepts, all about one workspace."""
    values = {"string": "x", "integer": 1, "number": 1.0, "boolean": True, "object": {}, "array": []}
    shapes = BY_NAME[tool].parameters
    given = {name: values[shapes[name].get("type", "string")] for name in BY_NAME[tool].required}
    return {**given, "workspace_id": id_}


def test_no_tool_works_in_a_workspace_that_another_program_keeps_for_itself(pyro: Pyro) -> None:
    id_ = pyro.create_workspace("debian:12", name="theirs", labels=MANAGED)["workspace_id"]
    before = pyro.status_workspace(id_)
    tools = [name for name, tool in BY_NAME.items() if "workspace_id" in tool.parameters and name not in UNTOUCHED]
    assert len(tools) > 30
    for tool in tools:
        for word in (id_, "theirs"):
            refused = call(pyro, tool, arguments_of(tool, word))
            assert refused.is_error and "is managed by another program" in text(refused), tool
    assert pyro.status_workspace(id_) == before


def test_a_list_leaves_such_a_workspace_out_also_after_it_was_adopted(pyro: Pyro) -> None:
    pyro.create_workspace("debian:12", name="theirs", labels=MANAGED)
    own = pyro.create_workspace("debian:12", name="own")["workspace_id"]
    listed = call(pyro, "workspace_list", {})
    assert own in text(listed) and "theirs" not in text(listed)
    assert listed.structured_content is not None and listed.structured_content["count"] == 1
    assert not call(pyro, "workspace_exec", {"workspace_id": "own", "command": "true"}).is_error


@pytest.mark.parametrize("tool", ["workspace_create", "workspace_update", "workspace_fork"])
def test_no_call_gives_a_workspace_the_label_of_a_program(pyro: Pyro, tool: str) -> None:
    own = pyro.create_workspace("debian:12", name="own")["workspace_id"]
    given = {"labels": {MANAGED_BY: "me"}} | ({} if tool == "workspace_create" else {"workspace_id": own})
    refused = call(pyro, tool, given)
    assert refused.is_error and f"the label {MANAGED_BY} is for programs" in text(refused)
    assert [one["labels"] for one in pyro.list_workspaces()["workspaces"]] == [{}]


def test_a_tool_refuses_a_workspace_with_more_network_than_its_server_allows(pyro: Pyro) -> None:
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    pyro._lifecycle.store.set_phase(id_, Phase.RUNNING, network_policy="egress")  # the fake engine has no gateway
    refused = call(pyro, "workspace_exec", {"workspace_id": id_, "command": "true"}, network_policy="off")
    assert refused.is_error and f"{id_} reaches more of the network" in text(refused)
    for options in ({}, {"network_policy": "egress"}):
        assert not call(pyro, "workspace_exec", {"workspace_id": id_, "command": "true"}, **options).is_error


def test_a_tool_refuses_a_machine_with_more_network_than_its_server_allows(pyro: Pyro) -> None:
    vm = pyro.create_vm("debian:12", network=True)["vm_id"]
    assert call(pyro, "vm_status", {"vm_id": vm}, network_policy="off").is_error
    assert not call(pyro, "vm_status", {"vm_id": vm}, network_policy="egress").is_error
    assert not call(pyro, "vm_delete", {"vm_id": vm}).is_error


LED = {"host": "model.internal", "upstream": "http://127.0.0.1:8080"}


@pytest.mark.parametrize(
    ("reach", "policy", "hosts", "has"),
    [
        (Reach(), "egress+published-ports", [LED], True),
        (Reach("off"), "off", [], True),
        (Reach("off"), "egress", ["pypi.org"], False),
        (Reach("egress"), "egress", [], True),
        (Reach("egress"), "egress", ["10.0.0.0/8"], False),
        (Reach("egress"), "egress", [LED], False),
        (Reach("egress"), "egress+published-ports", [], False),
        (Reach("egress", ("pypi.org",)), "egress", ["pypi.org"], True),
        (Reach("egress", ("pypi.org",)), "egress", [], False),
        (Reach("egress", ("pypi.org",)), "egress", ["pypi.org", "evil.example"], False),
    ],
)
def test_the_network_of_an_existing_workspace_is_compared_with_the_ceiling(
    reach: Reach, policy: str, hosts: list[Any], has: bool
) -> None:
    assert reach.has(policy, hosts) is has


def test_the_arguments_name_the_workspace_that_was_checked(pyro: Pyro) -> None:
    id_ = pyro.create_workspace("debian:12", name="own")["workspace_id"]
    assert permitted(pyro, Reach(), "workspace_exec", {"workspace_id": "own"}) == {"workspace_id": id_}
    with pytest.raises(InvalidRequest, match="machines for one command"):
        permitted(pyro, Reach("off"), "vm_exec", {"vm_id": pyro.create_vm("debian:12", network=True)["vm_id"]})
