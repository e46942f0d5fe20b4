"""The tools about services: programs in the background of a workspace."""

from __future__ import annotations

from pyro_mcp.mcp_server import text
from pyro_mcp.mcp_server.tool import COMMAND, FLAG, ID, SECONDS, TEXT, Schema, Tool, shape
from pyro_mcp.mcp_server.tools_workspace import SECRET_ENV
from pyro_mcp.results import ServiceInfo, ServiceList, ServiceLogs

_NAMED = {"workspace_id": ID, "service_name": TEXT}
_REQUIRED = ("workspace_id", "service_name")
_READINESS: Schema = {
    "type": "object",
    "description": '{"type": "file", "path"} | {"type": "tcp", "port"} | {"type": "http", "url"} | '
    '{"type": "command", "command"}',
}
_PORTS: Schema = {
    "type": "array",
    "items": {"type": "object", "properties": {"guest_port": {"type": "integer"}, "host_port": {"type": "integer"}}},
    "description": "shown on the host's 127.0.0.1; needs network_policy egress+published-ports",
}


def _service(result: ServiceInfo) -> str:
    parts = [f"Service {result['service_name']!r} is {result['state']}: {text.command_line(result['command'])}"]
    if result["exit_code"] is not None:
        parts.append(f"exit code {result['exit_code']}")
    if result["failure"]:
        parts.append(result["failure"])
    parts += [
        f"http://127.0.0.1:{port['host_port']} on the host leads to its port {port['guest_port']}"
        for port in result["published_ports"]
    ]
    return "\n".join(parts)


def _services(result: ServiceList) -> str:
    lines = [f"{one['service_name']} {one['state']}: {text.command_line(one['command'])}" for one in result["services"]]
    return text.listed(f"{result['count']} services, {result['running_count']} of them running:", lines)


def _logs(result: ServiceLogs) -> str:
    parts = [f"Service {result['service_name']!r} is {result['state']}."]
    if result["truncated"]:
        parts.append(f"The last {result['tail_lines'] or 'kept'} lines; there was more before.")
    parts += text.streams(result)
    return "\n".join(parts) if result["stdout"] or result["stderr"] else f"{parts[0]} It wrote nothing."


TOOLS = (
    Tool(
        "service_start",
        "Start a long-running program in the background of a workspace and wait until it is ready. For servers, "
        "watchers and any command longer than a call should take: start it, then poll service_status and service_logs.",
        {
            **_NAMED,
            "command": COMMAND,
            "cwd": TEXT,
            "readiness": _READINESS,
            "ready_timeout_seconds": SECONDS,
            "ready_interval_ms": {"type": "integer"},
            "secret_env": SECRET_ENV,
            "published_ports": _PORTS,
        },
        (*_REQUIRED, "command"),
        shape(ServiceInfo, "service_name", "state", "exit_code"),
        lambda call: call.pyro.start_service(
            call.arguments["workspace_id"],
            call.arguments["service_name"],
            **call.given(
                "command",
                "cwd",
                "readiness",
                "ready_timeout_seconds",
                "ready_interval_ms",
                "secret_env",
                "published_ports",
            ),
            interrupt=call.interrupt,
        ),
        _service,
        only_full=frozenset({"secret_env", "published_ports"}),
        then={"workspace_exec": "use it", "service_logs": "what it wrote", "service_stop": "end it"},
    ),
    Tool(
        "service_list",
        "The services of a workspace and their states.",
        {"workspace_id": ID},
        ("workspace_id",),
        shape(ServiceList, "count", "services"),
        lambda call: call.pyro.list_services(call.arguments["workspace_id"]),
        _services,
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "service_status",
        "Whether a service runs, and how it ended.",
        _NAMED,
        _REQUIRED,
        shape(ServiceInfo, "service_name", "state", "exit_code"),
        lambda call: call.pyro.status_service(call.arguments["workspace_id"], call.arguments["service_name"]),
        _service,
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "service_logs",
        "The last lines that a service wrote.",
        {**_NAMED, "tail_lines": {"type": "integer"}, "all": FLAG},
        _REQUIRED,
        shape(ServiceLogs, "state", "stdout", "stderr", "truncated"),
        lambda call: call.pyro.logs_service(
            call.arguments["workspace_id"], call.arguments["service_name"], **call.given("tail_lines", "all")
        ),
        _logs,
        read_only=True,
        idempotent=True,
        rest="ask for fewer tail_lines",
    ),
    Tool(
        "service_stop",
        "End a service and all it started.",
        _NAMED,
        _REQUIRED,
        shape(ServiceInfo, "service_name", "state", "exit_code"),
        lambda call: call.pyro.stop_service(call.arguments["workspace_id"], call.arguments["service_name"]),
        _service,
        destructive=True,
        idempotent=True,
    ),
)
