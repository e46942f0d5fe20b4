"""The user's network ceiling holds whatever a model asks for, and is what it gets when it asks for nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import render_hints
from pyro_mcp.mcp_server.network_bounds import Reach
from pyro_mcp.mcp_server.project_seed import ProjectSource
from pyro_mcp.mcp_server.tool import Call
from pyro_mcp.mcp_server.tool_words import ToolWords
from pyro_mcp.mcp_server.tools_environments import TOOLS

PYPI = ("pypi.org", "files.pythonhosted.org")


@pytest.mark.parametrize(
    ("reach", "asked", "given"),
    [
        (Reach(), {}, {}),
        (Reach(), {"network_policy": "egress"}, {"network_policy": "egress"}),
        (Reach("off"), {}, {"network_policy": "off", "allow_hosts": []}),
        (Reach("egress"), {}, {"network_policy": "egress", "allow_hosts": []}),
        (Reach("egress"), {"network_policy": "off"}, {"network_policy": "off", "allow_hosts": []}),
        (Reach("egress"), {"allow_hosts": ["pypi.org"]}, {"network_policy": "egress", "allow_hosts": ["pypi.org"]}),
        (Reach("egress", PYPI), {}, {"network_policy": "egress", "allow_hosts": [*PYPI]}),
        (Reach("egress", PYPI), {"network_policy": "off"}, {"network_policy": "off", "allow_hosts": []}),
        (
            Reach("egress", PYPI),
            {"allow_hosts": ["pypi.org"]},
            {"network_policy": "egress", "allow_hosts": ["pypi.org"]},
        ),
    ],
)
def test_a_workspace_gets_what_is_asked_for_within_the_ceiling(
    reach: Reach, asked: dict[str, Any], given: dict[str, Any]
) -> None:
    assert reach.of_workspace(asked) == given


@pytest.mark.parametrize(
    ("reach", "asked"),
    [
        (Reach("off"), {"network_policy": "egress"}),
        (Reach("egress"), {"network_policy": "egress+published-ports"}),
        (Reach("egress", PYPI), {"allow_hosts": ["pypi.org", "evil.example"]}),
        (Reach("egress", PYPI), {"allow_hosts": ["*.org"]}),
        (Reach("egress"), {"allow_hosts": ["pypi.org", "192.168.1.0/24"]}),
        (Reach("egress"), {"allow_hosts": ["10.0.0.1:5432"]}),
    ],
)
def test_more_than_the_ceiling_is_refused_with_who_can_raise_it(reach: Reach, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        reach.of_workspace(asked)
    hint = render_hints(raised.value.hint, ToolWords())
    assert "ask the user" in hint and "pyro host connect" in hint


@pytest.mark.parametrize("reach", [Reach("off"), Reach("egress", PYPI)])
def test_a_machine_for_one_command_gets_no_way_round_the_ceiling(reach: Reach) -> None:
    with pytest.raises(InvalidRequest):
        reach.check_machine({"network": True})
    reach.check_machine({})


@pytest.mark.parametrize(("policy", "hosts"), [("all", ()), ("egress", ("no such host",))])
def test_a_ceiling_that_cannot_be_is_refused_when_the_server_starts(policy: str, hosts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        Reach(policy, hosts)


def test_building_an_environment_gets_no_way_round_the_ceiling() -> None:
    class Builder:
        def build_environment(self, name: str, **options: Any) -> dict[str, Any]:
            return {"name": name, **options}

    def build(reach: Reach, **options: Any) -> Any:
        (tool,) = (one for one in TOOLS if one.name == "env_build")
        arguments = {"name": "mine:1", "path": ".", **options}
        return tool.call(Call(cast("Pyro", Builder()), ProjectSource(None), reach, arguments))

    with pytest.raises(InvalidRequest):
        build(Reach("off"), network=True)
    with pytest.raises(InvalidRequest):
        build(Reach("egress", PYPI), network=True, allow_hosts=["evil.example"])
    assert build(Reach("egress", PYPI), network=True)["allow_hosts"] == [*PYPI]
    assert "allow_hosts" not in build(Reach("off"))


LED = {"host": "model.internal", "upstream": "http://127.0.0.1:8080"}
LIMITED = {"host": "pypi.org", "methods": ["GET"], "paths": ["/simple/*"]}


@pytest.mark.parametrize("reach", [Reach(), Reach("egress"), Reach("egress", ("model.internal",)), Reach("off")])
def test_no_call_makes_a_name_lead_to_a_port_of_this_host(reach: Reach) -> None:
    with pytest.raises(InvalidRequest, match=r"no tool call can make model\.internal lead"):
        reach.of_workspace({"network_policy": "egress", "allow_hosts": ["pypi.org", LED]})


def test_a_call_may_allow_less_of_a_host_than_the_user_did() -> None:
    wanted = {"network_policy": "egress", "allow_hosts": [LIMITED]}
    assert Reach("egress", PYPI).of_workspace(wanted) == wanted
    assert Reach().of_workspace(wanted) == wanted
    with pytest.raises(InvalidRequest, match=r"may not reach .*evil\.example"):
        Reach("egress", PYPI).of_workspace({"allow_hosts": [LIMITED | {"host": "evil.example"}]})
