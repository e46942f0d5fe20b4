"""Machines with a record in the database: create, start, find, repair and delete them."""

from __future__ import annotations

from pyro_mcp.machines.command_hints import NETWORK_ERROR
from pyro_mcp.machines.commands import ExecOptions, command_end, shell_words
from pyro_mcp.machines.folders import Folders
from pyro_mcp.machines.fork import register_fork
from pyro_mcp.machines.guest_mirrors import check_mirrors
from pyro_mcp.machines.images import Images
from pyro_mcp.machines.inspector import register_inspector, start_inspector
from pyro_mcp.machines.lifecycle import Lifecycle, new_layer_name, require_time_left
from pyro_mcp.machines.lifetimes import seconds_left
from pyro_mcp.machines.machine_store import MachineRecord, MachineStore, is_vm
from pyro_mcp.machines.network_policy import EGRESS, OFF, POLICIES, NetworkPolicy
from pyro_mcp.machines.networks import Ports, network_environ, network_info, network_log
from pyro_mcp.machines.one_shot import NO_GUEST, OneShotMachines, check_ttl, image_for
from pyro_mcp.machines.phases import GUEST, HOST_COMPAT, Phase, require_phase
from pyro_mcp.machines.record_files import MachineRows, rows_of
from pyro_mcp.machines.secrets import SecretEnv, Secrets, SecretsGiven, check_reach, read_secrets
from pyro_mcp.machines.smoke import demo, prepare
from pyro_mcp.machines.spares import Order, Spares, spare_lifetime_seconds

__all__ = [
    "EGRESS",
    "GUEST",
    "HOST_COMPAT",
    "NETWORK_ERROR",
    "NO_GUEST",
    "OFF",
    "POLICIES",
    "ExecOptions",
    "Folders",
    "Images",
    "Lifecycle",
    "MachineRecord",
    "MachineRows",
    "MachineStore",
    "NetworkPolicy",
    "OneShotMachines",
    "Order",
    "Phase",
    "Ports",
    "SecretEnv",
    "Secrets",
    "SecretsGiven",
    "Spares",
    "check_mirrors",
    "check_reach",
    "check_ttl",
    "command_end",
    "demo",
    "image_for",
    "is_vm",
    "network_environ",
    "network_info",
    "network_log",
    "new_layer_name",
    "prepare",
    "read_secrets",
    "register_fork",
    "register_inspector",
    "require_phase",
    "require_time_left",
    "rows_of",
    "seconds_left",
    "shell_words",
    "spare_lifetime_seconds",
    "start_inspector",
]
