"""What the server offers: names, parameters, traits, and what that costs."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator

from pyro_mcp import Pyro, create_server
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.mcp_server import MODES, PROFILES
from pyro_mcp.mcp_server.profiles import BY_NAME

CORE = [
    "vm_run",
    "workspace_create",
    "workspace_list",
    "workspace_update",
    "workspace_status",
    "workspace_sync_push",
    "workspace_exec",
    "workspace_logs",
    "workspace_summary",
    "workspace_file_list",
    "workspace_file_read",
    "workspace_file_write",
    "workspace_patch_apply",
    "workspace_diff",
    "workspace_export",
    "workspace_reset",
    "workspace_delete",
]
BEYOND_CORE = [
    "vm_list_environments",
    "vm_create",
    "vm_start",
    "vm_exec",
    "vm_stop",
    "vm_delete",
    "vm_status",
    "vm_network_info",
    "vm_reap_expired",
    "env_save",
    "env_build",
    "env_delete",
    "workspace_adopt",
    "workspace_fork",
    "workspace_stop",
    "workspace_start",
    "workspace_disk_export",
    "workspace_disk_list",
    "workspace_disk_read",
    "snapshot_create",
    "snapshot_list",
    "snapshot_delete",
    "service_start",
    "service_list",
    "service_status",
    "service_logs",
    "service_stop",
    "workspace_network_info",
    "workspace_network_log",
    "shell_open",
    "shell_list",
    "shell_read",
    "shell_write",
    "shell_signal",
    "shell_close",
]

# The method that each tool is a call of, where its name is not the tool's with its words turned round.
METHODS = {
    "vm_run": "run_in_vm",
    "vm_list_environments": "list_environments",
    "vm_network_info": "network_info_vm",
    "workspace_network_info": "network_info_workspace",
    "workspace_network_log": "network_log_workspace",
    "shell_list": "list_shells",
    "vm_reap_expired": "reap_expired",
    "env_save": "save_environment",
    "env_build": "build_environment",
    "env_delete": "delete_environment",
    "workspace_list": "list_workspaces",
    "workspace_summary": "summarize_workspace",
    "workspace_sync_push": "push_workspace_sync",
    "workspace_file_list": "list_workspace_files",
    "workspace_disk_list": "list_workspace_disk",
    "snapshot_list": "list_snapshots",
    "service_list": "list_services",
}
BUDGET = {"vm-run": 500, "workspace-core": 4000, "workspace-full": 9000} | dict.fromkeys(MODES, 3000)
OFFERS = [*PROFILES, *MODES]


def listed(name: str) -> list[dict[str, Any]]:
    """What a server of this profile or mode sends for tools/list."""
    options = {"profile": name} if name in PROFILES else {"mode": name}
    server = create_server(**options, no_project_source=True)
    return [tool.model_dump(by_alias=True, exclude_none=True) for tool in anyio.run(server.list_tools)]


def names(name: str) -> list[str]:
    return [tool["name"] for tool in listed(name)]


def method_of(tool: str) -> Any:
    area, *verb = tool.split("_")
    turned = "_".join([verb[-1], area, *verb[:-1]])
    return getattr(Pyro, METHODS.get(tool, turned))


def tokens(tools: list[dict[str, Any]]) -> int:
    """What a list costs a model, at most: a token for 3.5 bytes of the compact JSON.

    No tokenizer is at hand without a network. Those of the present give 3.7 to 4.5 bytes of such JSON, most of which
    is English words and the same few keys, to a token.
    """
    return math.ceil(len(json.dumps(tools, separators=(",", ":"), ensure_ascii=False).encode()) / 3.5)


def test_the_profiles_hold_the_tools_of_the_contract() -> None:
    assert names("vm-run") == ["vm_run"]
    assert sorted(names("workspace-core")) == sorted(CORE)
    assert sorted(names("workspace-full")) == sorted(CORE + BEYOND_CORE)


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_can_begin_work_run_a_command_review_and_end(mode: str) -> None:
    assert {"workspace_create", "workspace_exec", "workspace_summary", "workspace_export", "workspace_delete"} <= {
        *names(mode)
    }


@pytest.mark.parametrize(
    ("mode", "key_tools"),
    [
        ("repro-fix", {"workspace_file_write", "workspace_patch_apply", "workspace_diff", "workspace_reset"}),
        ("repro-fix", {"workspace_file_list", "workspace_file_read", "workspace_list", "workspace_update"}),
        ("inspect", {"workspace_file_list", "workspace_file_read"}),
        ("cold-start", {"workspace_reset"} | {name for name in BEYOND_CORE if name.startswith("service_")}),
        ("review-eval", {name for name in BEYOND_CORE if name.startswith(("shell_", "snapshot_"))} - {"shell_list"}),
        ("review-eval", {"workspace_diff", "workspace_reset"}),
    ],
)
def test_a_mode_holds_its_key_tools(mode: str, key_tools: set[str]) -> None:
    assert key_tools <= {*names(mode)}


def test_inspect_is_the_smallest_of_the_modes_and_edits_nothing() -> None:
    assert min(MODES, key=lambda mode: len(names(mode))) == "inspect"
    assert {"workspace_file_write", "workspace_patch_apply"} & {*names("inspect")} == set()


@pytest.mark.parametrize("name", OFFERS)
def test_the_order_is_always_the_same(name: str) -> None:
    assert listed(name) == listed(name)


@pytest.mark.parametrize("name", OFFERS)
def test_a_list_costs_a_model_no_more_than_its_budget(name: str) -> None:
    assert tokens(listed(name)) <= BUDGET[name]


@pytest.mark.parametrize("tool", BY_NAME)
def test_a_tool_takes_what_its_method_takes_by_the_same_names(tool: str) -> None:
    taken = inspect.signature(method_of(tool)).parameters

    assert BY_NAME[tool].parameters.keys() <= taken.keys()
    for name, parameter in taken.items():
        if parameter.default is inspect.Parameter.empty and name not in {"self", "environment"}:
            assert name in BY_NAME[tool].required


@pytest.mark.parametrize("tool", listed("workspace-full"), ids=lambda tool: tool["name"])
def test_a_tool_says_when_to_use_it_and_what_it_does_to_the_world(tool: dict[str, Any]) -> None:
    assert 15 <= len(tool["description"]) <= 400 and tool["description"].endswith(".")
    assert {*tool["annotations"]} == {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
    assert not (tool["annotations"]["readOnlyHint"] and tool["annotations"]["destructiveHint"])
    for schema in (tool["inputSchema"], tool["outputSchema"]):
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
    assert {*tool["inputSchema"].get("required", [])} <= {*tool["inputSchema"]["properties"]}


def schemas_in(schema: object) -> Iterator[dict[str, Any]]:
    """A schema and all that are inside it."""
    if isinstance(schema, dict):
        yield schema
        for name in {"properties", "items", "additionalProperties", "anyOf"} & schema.keys():
            inner = schema[name]
            several = inner.values() if name == "properties" else inner if isinstance(inner, list) else [inner]
            for one in several:
                yield from schemas_in(one)


@pytest.mark.parametrize("tool", listed("workspace-full"), ids=lambda tool: tool["name"])
def test_a_schema_is_in_the_part_of_the_language_that_every_client_takes(tool: dict[str, Any]) -> None:
    for schema in [*schemas_in(tool["inputSchema"]), *schemas_in(tool["outputSchema"])]:
        assert isinstance(schema.get("type", ""), str), "Gemini takes no list of types"
    assert not [one for one in schemas_in(tool["inputSchema"]) if one.get("type") == "array" and "items" not in one]


@pytest.mark.parametrize("name", [name for name in OFFERS if name != "workspace-full"])
def test_what_only_the_full_profile_has_is_left_out_elsewhere(name: str) -> None:
    parameters = {(tool["name"], word) for tool in listed(name) for word in tool["inputSchema"]["properties"]}

    assert {"network_policy", "allow_hosts", "secrets", "secret_env", "published_ports"} & {
        word for _, word in parameters
    } == set()


def test_the_full_profile_has_secrets_networks_and_ports() -> None:
    taken = {tool["name"]: {*tool["inputSchema"]["properties"]} for tool in listed("workspace-full")}

    assert {"network_policy", "secrets"} <= taken["workspace_create"]
    assert "secret_env" in taken["workspace_exec"] & taken["service_start"] & taken["shell_open"]
    assert "published_ports" in taken["service_start"]


@pytest.mark.parametrize("name", OFFERS)
def test_no_next_step_is_to_a_tool_that_there_is_not(name: str) -> None:
    for tool in names(name):
        assert {*BY_NAME[tool].then} <= {*BY_NAME}


def test_a_profile_and_a_mode_exclude_each_other() -> None:
    with pytest.raises(InvalidRequest, match="exclude each other"):
        create_server("workspace-core", mode="inspect")


@pytest.mark.parametrize("options", [{"profile": "workspace"}, {"mode": "fix"}, {"profile": ""}])
def test_an_unknown_profile_or_mode_brings_the_known_ones(options: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        create_server(**options)  # type: ignore[arg-type]
    assert "workspace-core" in raised.value.hint or "repro-fix" in raised.value.hint


def test_without_a_choice_it_is_the_core() -> None:
    server = Pyro().create_server(no_project_source=True)

    assert sorted(tool.name for tool in anyio.run(server.list_tools)) == sorted(CORE)
