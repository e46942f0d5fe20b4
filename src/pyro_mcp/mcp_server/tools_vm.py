"""The tools about machines for one command."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pyro_mcp.mcp_server import commands, text
from pyro_mcp.mcp_server.tool import ACCELERATOR, COMMAND, FLAG, ID, SECONDS, TEXT, Call, Schema, Tool, shape
from pyro_mcp.results import EnvironmentList, ReapReport, VmDeleted, VmExecResult, VmInfo, VmNetworkInfo

_SHAPE = ("vcpu_count", "mem_mib", "ttl_seconds", "network", "trust_host_ca", "host_mirrors", "allow_host_compat")
_MACHINE: dict[str, Schema] = {
    "vcpu_count": {"type": "integer"},
    "mem_mib": {"type": "integer"},
    "ttl_seconds": SECONDS,
    "network": FLAG,
    "trust_host_ca": FLAG,
    "host_mirrors": FLAG,
    "allow_host_compat": {"type": "boolean", "description": "without KVM or QEMU, use a far weaker sandbox"},
    "accelerator": ACCELERATOR,
}
TIME_LIMIT: Schema = {"type": "number", "description": "default 30, or 120 where the processor is emulated"}
_ENDED = ("exit_code", "timed_out", "stdout", "stderr", "truncated")
_REST = "let the command print less: grep, head, tail"


def _run(call: Call) -> Mapping[str, Any]:
    options = call.given("command", "timeout_seconds", *_SHAPE)
    call.reach.check_machine(call.arguments)
    options |= call.chosen_accelerator()
    environment = call.arguments.get("environment", "debian:12")
    return commands.run(call, partial(call.pyro.run_in_vm, environment, **options))


def _create(call: Call) -> Mapping[str, Any]:
    call.reach.check_machine(call.arguments)
    return call.pyro.create_vm(call.arguments["environment"], **call.given(*_SHAPE), **call.chosen_accelerator())


def _exec(call: Call) -> Mapping[str, Any]:
    options = call.given("command", "timeout_seconds")
    return commands.run(call, partial(call.pyro.exec_vm, call.arguments["vm_id"], **options))


def _machine(result: VmInfo) -> str:
    network = "on" if result["network"] else "off"
    failure = f" Failure: {result['failure']}" if result["failure"] else ""
    return (
        f"{result['vm_id']} is {result['state']}: {result['environment']}, network {network}. "
        f"Its time is over at {text.moment(result['expires_at'])}.{failure}"
    )


def _environments(result: EnvironmentList) -> str:
    lines = [f"{one['name']}{'' if one['installed'] else ' (not installed)'}" for one in result["environments"]]
    return text.listed("Environments:", lines)


def _network(result: VmNetworkInfo) -> str:
    return f"{result['vm_id']}: network policy {result['policy']}"


def _about(name: str, description: str, result: type, fields: tuple[str, ...], method: str, **traits: Any) -> Tool:
    """Return a tool that takes only a machine's id."""
    return Tool(
        name,
        description,
        {"vm_id": ID},
        ("vm_id",),
        shape(result, *fields),
        lambda call: getattr(call.pyro, method)(call.arguments["vm_id"]),
        **{"tell": _machine, "idempotent": True, **traits},
    )


_STATE = ("vm_id", "state", "expires_at")


def _reaped(result: ReapReport) -> str:
    lines = [f"{result['count']} deleted {' '.join(result['deleted'])}".rstrip()]
    return "\n".join([*lines, *(f"{one['id']} is left: {one['problem']}" for one in result.get("problems", []))])


TOOLS = (
    Tool(
        "vm_run",
        "Run one command in a fresh VM that is deleted afterwards, for a question that needs no project files. To work "
        "on files, use workspace_create.",
        {"environment": {"type": "string", "default": "debian:12"}, "command": COMMAND, "timeout_seconds": TIME_LIMIT}
        | _MACHINE,
        ("command",),
        shape(VmExecResult, *_ENDED),
        _run,
        text.vm_run,
        destructive=False,
        open_world=True,
        rest=_REST,
    ),
    Tool(
        "vm_list_environments",
        "List the environments that machines boot from.",
        {},
        (),
        shape(EnvironmentList, "count", "environments"),
        lambda call: call.pyro.list_environments(),
        _environments,
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "vm_create",
        "Create a one-shot machine; vm_start starts it, vm_exec runs its one command. vm_run does all in one call.",
        {"environment": TEXT} | _MACHINE,
        ("environment",),
        shape(VmInfo, *_STATE),
        _create,
        _machine,
        undo=lambda call, made: call.pyro.delete_vm(made["vm_id"]),
        then={"vm_start": "start it"},
    ),
    _about("vm_start", "Start a created or stopped machine.", VmInfo, _STATE, "start_vm", then={"vm_exec": "use it"}),
    Tool(
        "vm_exec",
        "Run one command in a started machine; the machine is deleted afterwards.",
        {"vm_id": ID, "command": COMMAND, "timeout_seconds": TIME_LIMIT},
        ("vm_id", "command"),
        shape(VmExecResult, *_ENDED),
        _exec,
        text.vm_run,
        destructive=True,
        open_world=True,
        rest=_REST,
    ),
    _about("vm_stop", "Power a machine off; its disk stays.", VmInfo, _STATE, "stop_vm"),
    _about(
        "vm_delete",
        "Delete a machine and all its data.",
        VmDeleted,
        ("vm_id", "deleted"),
        "delete_vm",
        tell=lambda result: f"{result['vm_id']} is deleted.",
        destructive=True,
        idempotent=False,
    ),
    _about("vm_status", "Show the state of a machine.", VmInfo, _STATE, "status_vm", read_only=True),
    _about(
        "vm_network_info",
        "Show the network of a machine.",
        VmNetworkInfo,
        ("vm_id", "network"),
        "network_info_vm",
        tell=_network,
        read_only=True,
    ),
    Tool(
        "vm_reap_expired",
        "Delete expired machines and workspaces, and what dead processes left behind.",
        {},
        (),
        shape(ReapReport, "count", "deleted"),
        lambda call: call.pyro.reap_expired(),
        _reaped,
        destructive=True,
        idempotent=True,
    ),
)
