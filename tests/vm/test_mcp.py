"""The MCP server on real machines, as a chat host has it: `pyro mcp serve` over standard input and output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client

from pyro_mcp import Pyro
from tests.mcp_server.conftest import conversation, started
from tests.waiting import until

PATCH = "--- a/message.txt\n+++ b/message.txt\n@@ -1 +1 @@\n-broken\n+fixed\n"
Tell = Callable[..., Awaitable[dict[str, Any]]]


def serving(*options: str) -> list[str]:
    return [sys.executable, "-m", "pyro_mcp.cli", "mcp", "serve", *options]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout, which is the current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "message.txt").write_text("broken\n")
    (folder / "check.sh").write_text("grep -q fixed message.txt\n")
    subprocess.run(["git", "init", "--quiet", folder], check=True, timeout=30)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ready(pyro: Pyro) -> Iterator[Pyro]:
    """The SDK where `debian:12` is warm; the workspaces are deleted afterwards."""
    pyro.prepare("debian:12")
    yield pyro
    for one in pyro.list_workspaces()["workspaces"]:
        pyro.delete_workspace(one["workspace_id"])


def teller(client: Client) -> Tell:
    """Return a function that calls a tool, which must not fail, and returns its data."""

    async def tell(name: str, /, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(name, arguments)
        assert not result.is_error, result.content
        assert isinstance(result.structured_content, dict)
        return result.structured_content

    return tell


async def repro_and_fix(client: Client) -> dict[str, Any]:
    tell = teller(client)
    made = await tell("workspace_create", name="fix", labels={"issue": "5"})
    id_ = made["workspace_id"]
    before = await tell("workspace_exec", workspace_id=id_, command="sh check.sh")
    await tell("workspace_patch_apply", workspace_id=id_, patch=PATCH)
    after = await tell("workspace_exec", workspace_id=id_, command=["sh", "check.sh"])
    diff = await tell("workspace_diff", workspace_id=id_)
    await tell("workspace_reset", workspace_id=id_)
    clean = await tell("workspace_diff", workspace_id=id_)
    gone = await tell("workspace_delete", workspace_id=id_)
    return {
        "made": made,
        "codes": (before["exit_code"], after["exit_code"]),
        "diff": diff,
        "clean": clean,
        "gone": gone,
    }


def test_a_project_is_mended_and_reset(ready: Pyro, project: Path) -> None:
    told = conversation(repro_and_fix, serving("--mode", "repro-fix"))

    seed = told["made"]["workspace_seed"]
    assert (seed["origin_kind"], seed["origin_ref"]) == ("project_path", str(project))
    assert told["made"]["execution_mode"].startswith("guest_")
    assert told["codes"] == (1, 0)
    assert "+fixed" in told["diff"]["patch"] and told["clean"]["changed"] is False
    assert told["gone"]["deleted"] is True
    assert ready.list_workspaces()["count"] == 0


def test_a_workspace_outlives_the_server_that_made_it(ready: Pyro, project: Path) -> None:
    async def write(client: Client) -> str:
        id_ = (await teller(client)("workspace_create"))["workspace_id"]
        await teller(client)("workspace_file_write", workspace_id=id_, path="kept.txt", text="kept\n")
        return str(id_)

    id_ = conversation(write, serving())

    async def read(client: Client) -> str:
        found = await teller(client)("workspace_exec", workspace_id=id_, command="cat kept.txt")
        return str(found["stdout"])

    assert project.exists() and ready.status_workspace(id_)["state"] == "running"
    assert conversation(read, serving()) == "kept\n"


async def cancelled_on_progress(client: Client, name: str, arguments: dict[str, Any]) -> None:
    """Call a tool, and cancel the call when it first tells where it stands."""

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert progress > 0 and total is None and message
        scope.cancel()

    with anyio.CancelScope() as scope:
        await client.call_tool(name, arguments, progress_callback=on_progress)
    assert scope.cancelled_caught


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_cancelled_command_is_killed_in_the_guest(ready: Pyro, project: Path, mode: str) -> None:
    async def talk(client: Client) -> str:
        tell = teller(client)
        id_ = (await tell("workspace_create"))["workspace_id"]

        arguments = {"workspace_id": id_, "command": "sleep 4321 & sleep 4321", "timeout_seconds": 600}
        await cancelled_on_progress(client, "workspace_exec", arguments)
        return str(id_)

    id_ = conversation(talk, serving(), mode=mode)

    assert project.exists()
    assert_no_sleep(ready, id_)


def test_a_cancelled_start_of_a_service_leaves_none(ready: Pyro, project: Path) -> None:
    async def talk(client: Client) -> str:
        tell = teller(client)
        id_ = (await tell("workspace_create"))["workspace_id"]

        arguments = {
            "workspace_id": id_,
            "service_name": "app",
            "command": "sleep 4321",
            "readiness": {"type": "file", "path": "never"},
            "ready_timeout_seconds": 500,
        }
        await cancelled_on_progress(client, "service_start", arguments)
        return str(id_)

    id_ = conversation(talk, serving("--mode", "cold-start"))

    assert project.exists()
    assert_no_sleep(ready, id_)
    assert ready.status_service(id_, "app")["state"] == "failed"


def test_a_cancelled_create_leaves_no_workspace(ready: Pyro, project: Path) -> None:
    async def talk(client: Client) -> None:
        with anyio.move_on_after(0.05) as scope:
            await client.call_tool("workspace_create", {})
        assert scope.cancelled_caught

    conversation(talk, serving())

    assert project.exists()
    assert ready.list_workspaces()["count"] == 0


def test_a_file_name_that_is_not_unicode_is_shown_and_the_server_continues(ready: Pyro, project: Path) -> None:
    async def talk(client: Client) -> list[str]:
        tell = teller(client)
        id_ = (await tell("workspace_create"))["workspace_id"]
        await tell("workspace_exec", workspace_id=id_, command=r"echo x > $(printf 'n\377')")
        told = [
            await client.call_tool(f"workspace_{verb}", {"workspace_id": id_})
            for verb in ("file_list", "diff", "summary")
        ]
        await tell("workspace_delete", workspace_id=id_)
        return [str(result.content) + str(result.is_error) for result in told]

    assert project.exists() and ready
    for told in conversation(talk, serving()):
        assert "n\\" in told and told.endswith("False")


def test_a_client_that_vanishes_leaves_no_command_and_no_server(ready: Pyro, project: Path) -> None:
    assert project.exists()
    id_ = ready.create_workspace("debian:12")["workspace_id"]
    with started(serving()) as server:
        server.greet()
        server.call(1, "workspace_exec", workspace_id=id_, command="touch here; sleep 4321", timeout_seconds=600)
        until("the command runs", lambda: ready.exec_workspace(id_, command="test -e here")["exit_code"] == 0)
        server.stdin.close()
        server.stdout.close()
        assert server.process.wait(20) == 0
    assert_no_sleep(ready, id_)


def assert_no_sleep(pyro: Pyro, id_: str) -> None:
    """Fail unless every `sleep` in a workspace is gone within seconds."""
    command = "grep -ls ^sleep /proc/[0-9]*/comm"
    sleeping = partial(pyro.exec_workspace, id_, command=command)
    until("no command is left", sleeping, lambda done: not done["stdout"], deadline_seconds=10)


def test_a_service_and_a_shell_go_on_between_calls(ready: Pyro, project: Path) -> None:
    async def talk(client: Client) -> tuple[str, str, str]:
        tell = teller(client)
        id_ = (await tell("workspace_create"))["workspace_id"]
        readiness = {"type": "file", "path": ".ready"}
        command = "echo up; touch .ready; exec sleep 600"
        await tell("service_start", workspace_id=id_, service_name="app", command=command, readiness=readiness)
        logs = await tell("service_logs", workspace_id=id_, service_name="app")
        stopped = await tell("service_stop", workspace_id=id_, service_name="app")
        shell = (await tell("shell_open", workspace_id=id_))["shell_id"]
        await tell("shell_write", workspace_id=id_, shell_id=shell, input="cat message.txt")
        read = await tell("shell_read", workspace_id=id_, shell_id=shell, plain=True, wait_for_idle_ms=500)
        await tell("shell_close", workspace_id=id_, shell_id=shell)
        return logs["stdout"], stopped["state"], read["output"]

    assert project.exists() and ready
    logs, state, output = conversation(talk, serving("--profile", "workspace-full"))
    assert (logs, state) == ("up\n", "stopped") and "broken" in output


def test_every_result_is_of_the_shape_that_its_tool_promises(ready: Pyro, project: Path) -> None:
    # The client of the SDK refuses data that does not conform; a result needs no more to be whole than its text.
    async def talk(client: Client) -> list[str]:
        texts = []
        id_ = (await teller(client)("workspace_create"))["workspace_id"]
        for tool in (await client.list_tools()).tools:
            if tool.annotations and tool.annotations.read_only_hint and tool.name.startswith("workspace_"):
                arguments: dict[str, Any] = {"workspace_id": id_} if tool.input_schema["properties"] else {}
                if "path" in tool.input_schema.get("required", []):
                    arguments["path"] = "message.txt"
                result = await client.call_tool(tool.name, arguments)
                assert not result.is_error
                texts.append(json.dumps(result.content[0].model_dump()))
        return texts

    assert project.exists() and ready
    assert all(len(text) > 20 for text in conversation(talk, serving()))
