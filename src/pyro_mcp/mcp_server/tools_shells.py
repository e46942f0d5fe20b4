"""The tools about shells: programs on a terminal in a workspace."""

from __future__ import annotations

from pyro_mcp.mcp_server import text
from pyro_mcp.mcp_server.bounds import shortened
from pyro_mcp.mcp_server.tool import COMMAND, FLAG, ID, TEXT, Schema, Tool, shape
from pyro_mcp.mcp_server.tools_workspace import SECRET_ENV
from pyro_mcp.results import ShellClosed, ShellList, ShellOpened, ShellRead, ShellSignalled, ShellWritten

_SHELL = {"workspace_id": ID, "shell_id": ID}
_REQUIRED = ("workspace_id", "shell_id")
# Few enough for a text, so that next_cursor is where it ends.
_SHOWN = 8 * 1024
_COUNT: Schema = {"type": "integer"}
_CHARACTERS: Schema = {"type": "integer", "maximum": 65536}


def _read(result: ShellRead) -> str:
    state = "running" if result["exit_code"] is None else f"ended with exit code {result['exit_code']}"
    lost = f"[{result['dropped_bytes']} bytes before this are lost]\n" if result["dropped_bytes"] else ""
    output = shortened(result["output"]) or "(nothing new)"
    return f"{lost}{output}\n[shell {result['shell_id']} is {state}; read on with cursor {result['next_cursor']}]"


def _shells(result: ShellList) -> str:
    lines = [
        f"{one['shell_id']} is {one['state']}" + ("" if one["exit_code"] is None else f", exit code {one['exit_code']}")
        for one in result["shells"]
    ]
    return text.listed(f"{result['count']} shells in {result['workspace_id']}:", lines)


TOOLS = (
    Tool(
        "shell_open",
        "Open a shell on a terminal in a workspace: for prompts, REPLs, state kept between commands.",
        {"workspace_id": ID, "command": COMMAND, "cwd": TEXT, "cols": _COUNT, "rows": _COUNT, "secret_env": SECRET_ENV},
        ("workspace_id",),
        shape(ShellOpened, "shell_id", "state"),
        lambda call: call.pyro.open_shell(
            call.arguments["workspace_id"], **call.given("command", "cwd", "cols", "rows", "secret_env")
        ),
        lambda result: f"Shell {result['shell_id']} is open in {result['cwd']}.",
        only_full=frozenset({"command", "secret_env"}),
        then={"shell_write": "type a command", "shell_read": "see the output", "shell_close": "end it"},
    ),
    Tool(
        "shell_list",
        "List the shells of a workspace.",
        {"workspace_id": ID},
        ("workspace_id",),
        shape(ShellList, "count", "shells"),
        lambda call: call.pyro.list_shells(call.arguments["workspace_id"]),
        _shells,
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "shell_read",
        "What a shell wrote since cursor (0: from the beginning). Best with plain and wait_for_idle_ms 300; read on "
        "with the result's next_cursor.",
        {
            **_SHELL,
            "cursor": _COUNT,
            "max_chars": _CHARACTERS,
            "plain": FLAG,
            "wait_for_idle_ms": {"type": "integer"},
        },
        _REQUIRED,
        shape(ShellRead, "output", "next_cursor", "exit_code", "truncated"),
        lambda call: call.pyro.read_shell(
            call.arguments["workspace_id"],
            call.arguments["shell_id"],
            **call.given("cursor", "plain", "wait_for_idle_ms"),
            max_chars=min(call.arguments.get("max_chars", _SHOWN), _SHOWN),
            interrupt=call.interrupt,
        ),
        _read,
        read_only=True,
        idempotent=True,
        rest="read on with next_cursor, or again from the same cursor with fewer max_chars",
    ),
    Tool(
        "shell_write",
        "Type input into a shell, and Enter unless append_newline is false; then shell_read.",
        {**_SHELL, "input": TEXT, "append_newline": FLAG},
        (*_REQUIRED, "input"),
        shape(ShellWritten, "shell_id", "input_bytes"),
        lambda call: call.pyro.write_shell(
            call.arguments["workspace_id"], call.arguments["shell_id"], **call.given("input", "append_newline")
        ),
        lambda result: f"Typed {result['input_bytes']} bytes.",
        destructive=True,
        then={"shell_read": "see what it says, with plain and wait_for_idle_ms 300"},
    ),
    Tool(
        "shell_signal",
        "Send a signal to the program in a shell: INT is Ctrl-C.",
        {**_SHELL, "signal_name": {"type": "string", "default": "INT"}},
        _REQUIRED,
        shape(ShellSignalled, "shell_id", "signal"),
        lambda call: call.pyro.signal_shell(
            call.arguments["workspace_id"], call.arguments["shell_id"], **call.given("signal_name")
        ),
        lambda result: f"Sent {result['signal']}.",
        destructive=True,
    ),
    Tool(
        "shell_close",
        "End a shell and everything started in it.",
        _SHELL,
        _REQUIRED,
        shape(ShellClosed, "shell_id", "closed"),
        lambda call: call.pyro.close_shell(call.arguments["workspace_id"], call.arguments["shell_id"]),
        lambda result: f"Shell {result['shell_id']} is closed.",
        destructive=True,
    ),
)
