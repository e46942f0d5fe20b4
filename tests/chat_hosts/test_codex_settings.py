"""One table of Codex's settings changes, and nothing else does."""

from __future__ import annotations

import tomllib

import pytest

from pyro_mcp.chat_hosts import codex
from pyro_mcp.chat_hosts.server_entry import ServerEntry
from pyro_mcp.errors import InvalidRequest

ENTRY = ServerEntry(("/bin/pyro", "mcp", "serve"), {"XDG_STATE_HOME": '/a "b"'})
TEXTS = {
    "nothing": "",
    "other things": 'model = "x" # mine\n\n[tui]\nnotifications = true\n',
    "other servers": '[mcp_servers.mine] # a\ncommand = "c" # b\n[mcp_servers.mine.env]\nK = "v"\n\n[tui]\nx = 1\n',
    "servers on one line": 'mcp_servers = { mine = { command = "x" } }\n',
    "a table of servers": '[mcp_servers]\n# none\nmine = { command = "y" }\n\n[x]\na = 1\n',
    "a server of ours": (
        '[mcp_servers.pyro]\nenabled = false\ntool_timeout_sec = 600 # slow\ncommand = "/gone"\n'
        '[mcp_servers.pyro.env]\nA = "b"\n[mcp_servers.pyro.tools.workspace_exec]\napproval_mode = "approve"\n'
    ),
    "foreign line ends": 'a = 1\r\n[mcp_servers.mine]\r\ncommand = "c"\r\n',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_table_says_what_was_wanted_and_all_else_is_as_before(text: str) -> None:
    before = tomllib.loads(text)

    written = codex.with_server(text, "pyro", ENTRY)

    after = tomllib.loads(written)
    server = after.get("mcp_servers", {}).pop("pyro")
    assert {key: server.pop(key) for key in ("command", "args", "env")} == {
        "command": "/bin/pyro",
        "args": ["mcp", "serve"],
        "env": {"XDG_STATE_HOME": '/a "b"'},
    }
    old = before.get("mcp_servers", {}).pop("pyro", {})
    assert server == {key: value for key, value in old.items() if key not in ("command", "args", "env", "enabled")}
    assert {"mcp_servers": {}, **after} == {"mcp_servers": {}, **before}
    assert [line for line in text.splitlines() if "#" in line and "gone" not in line and line not in written] == []


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_without_the_table_nothing_of_it_is_left(text: str) -> None:
    before = tomllib.loads(text)
    before.get("mcp_servers", {}).pop("pyro", None)

    after = tomllib.loads(codex.without_server(codex.with_server(text, "pyro", ENTRY), "pyro"))

    assert {"mcp_servers": {}, **after} == {"mcp_servers": {}, **before}


@pytest.mark.parametrize(
    "text",
    [
        'mcp_servers.docs.command = "docs"\nsandbox_mode = "read-only"\n',
        'mcp_servers.a = {command = "a"}\napproval_policy = "on-request"\n',
    ],
)
def test_settings_that_a_new_table_would_swallow_are_left_alone(text: str) -> None:
    with pytest.raises(InvalidRequest, match="without moving"):
        codex.with_server(text, "pyro", ServerEntry(("/bin/pyro", "mcp", "serve")))
