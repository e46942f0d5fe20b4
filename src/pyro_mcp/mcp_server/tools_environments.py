"""The tools that make environments."""

from __future__ import annotations

from pyro_mcp.mcp_server.tool import ACCELERATOR, FLAG, ID, LABELS, SECONDS, TEXT, Call, Tool, shape
from pyro_mcp.results import EnvironmentDeleted, EnvironmentDetails


def _made(result: EnvironmentDetails) -> str:
    size = (result["size_bytes"] or 0) >> 20
    left_out = result["origin"].get("left_out")
    skipped = f" Left out: {', '.join(left_out[:20])}." if left_out else ""
    ignored = result["origin"].get("ignored")
    skipped += f" Without effect: {'; '.join(ignored[:20])}." if ignored else ""
    return f"The environment {result['name']} is made ({size} MiB, from {result['origin'].get('parent')}).{skipped}"


def _build(call: Call) -> EnvironmentDetails:
    names = (
        "path",
        "context",
        "build_args",
        "target",
        "network",
        "allow_hosts",
        "vcpu_count",
        "mem_mib",
        "trust_host_ca",
        "host_mirrors",
        "timeout_seconds",
        "replace",
    )
    options = call.given(*names) | call.chosen_accelerator()
    if options.get("network"):
        wanted = {"network_policy": "egress", "allow_hosts": options.get("allow_hosts", [])}
        options["allow_hosts"] = call.reach.of_workspace(wanted)["allow_hosts"]
    return call.pyro.build_environment(call.arguments["name"], **options)


TOOLS = (
    Tool(
        "env_save",
        "Make an environment of a workspace's system, with all that was installed in it, but without /workspace. New "
        "workspaces can begin with it; it stays until env_delete.",
        {"name": {"type": "string", "description": "for example my-project:1"}, "workspace_id": ID, "replace": FLAG},
        ("name", "workspace_id"),
        shape(EnvironmentDetails, "name", "digest", "size_bytes"),
        lambda call: call.pyro.save_environment(
            call.arguments["name"], workspace_id=call.arguments["workspace_id"], **call.given("replace")
        ),
        _made,
        then={"workspace_create": "begin with it: environment is its name"},
    ),
    Tool(
        "env_build",
        "Make an environment from a Dockerfile, or a devcontainer.json, on the host. Steps have no network unless "
        "network is true. A step that fails shows its output.",
        {
            "name": {"type": "string", "description": "for example my-project:1"},
            "path": {"type": "string", "description": "the file, or a folder with a Dockerfile"},
            "context": TEXT,
            "build_args": LABELS,
            "target": TEXT,
            "network": FLAG,
            "allow_hosts": {"type": "array", "items": TEXT},
            "trust_host_ca": FLAG,
            "host_mirrors": FLAG,
            "vcpu_count": {"type": "integer"},
            "mem_mib": {"type": "integer"},
            "timeout_seconds": SECONDS,
            "replace": FLAG,
            "accelerator": ACCELERATOR,
        },
        ("name", "path"),
        shape(EnvironmentDetails, "name", "digest", "size_bytes"),
        _build,
        _made,
        open_world=True,
        then={"workspace_create": "begin with it: environment is its name"},
    ),
    Tool(
        "env_delete",
        "Remove an environment made by env_save or env_build.",
        {"name": TEXT},
        ("name",),
        shape(EnvironmentDeleted, "name", "deleted"),
        lambda call: call.pyro.delete_environment(call.arguments["name"]),
        lambda result: f"The environment {result['name']} is deleted.",
        destructive=True,
    ),
)
