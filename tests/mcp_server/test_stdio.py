"""Over standard input and output, whatever a client does."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client

from tests.mcp_server.conftest import Raw, serving, started

Converse = Callable[..., Any]


def text_of(result: Any) -> str:
    return "\n".join(one.text for one in result.content)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_command_is_told_as_text_and_as_data(converse: Converse, mode: str) -> None:
    async def talk(client: Client) -> Any:
        id_ = (await client.call_tool("workspace_create", {"name": "mine"})).structured_content["workspace_id"]
        return await client.call_tool("workspace_exec", {"workspace_id": id_, "command": "anything"})

    result = converse(talk, mode=mode)

    assert not result.is_error
    assert "exit code 3" in text_of(result) and "stdout:\nout" in text_of(result) and "stderr:\nerr" in text_of(result)
    assert (result.structured_content["exit_code"], result.structured_content["stdout"]) == (3, "out\n")


def test_long_output_keeps_its_beginning_and_end_and_says_how_to_read_the_rest(raw: Raw) -> None:
    raw.call(2, "workspace_exec", workspace_id=raw.workspace(), command="lines 100000")

    result = raw.hear()["result"]

    text = result["content"][0]["text"]
    assert len(text) < 30_000 and "line 0\n" in text and "line 99999" in text
    assert "bytes left out" in text and "sed -n" in text
    assert result["structuredContent"]["stdout_bytes"] == sum(len(f"line {n}\n") for n in range(100_000))
    assert len(result["structuredContent"]["stdout"]) < 30_000


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("workspace_exec", {"comand": "ls"}, "did you mean 'command'?"),
        ("workspace_exec", {"workspace_id": "ws-0"}, "'command' is missing"),
        ("workspace_exec", {"workspace_id": "ws-0", "command": 5}, "command: 5 has the wrong type"),
        ("workspace_exec", {"workspace_id": "ws-0", "command": "ls"}, "Hint: workspace_list"),
        ("vm_exec", {"vm_id": "ws-0", "command": "ls"}, "ws-0 is a workspace"),
        ("vm_delete", {"vm_id": "ws-0"}, "ws-0 is a workspace"),
        ("workspace_exec", {"workspace_id": "../../etc", "command": "ls"}, "there is no workspace"),
        ("workspace_file_read", {"workspace_id": "ws-0", "path": "a", "max_bytes": 10**9}, "maximum"),
        ("workspace_exex", {}, "workspace_exec"),
        ("vm_run", {"command": "ls", "environment": "debain:12"}, "debian:12"),
        ("vm_run", {"command": "ls", "vcpu_count": -1}, "processors"),
    ],
)
def test_an_error_tells_the_model_how_to_correct_itself(
    raw: Raw, name: str, arguments: dict[str, Any], told: str
) -> None:
    raw.call(2, name, **arguments)

    result = raw.hear()["result"]

    assert result["isError"] is True
    assert told in result["content"][0]["text"]


@pytest.mark.parametrize(
    "line",
    [
        rb'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "\ud800"}}',
        b'{"jsonrpc": "2.0", "id": 7, "method": "x", "params": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"jsonrpc": "2.0", "id": 7, "method": "x", nonsense}',
    ],
)
def test_what_is_not_json_gets_an_error_and_the_next_message_an_answer(raw: Raw, line: bytes) -> None:
    raw.say(line)
    answer = raw.hear()
    assert (answer["id"], answer["error"]["code"]) == (7, -32601)
    raw.call(8, "workspace_list")
    assert raw.hear()["id"] == 8


def test_a_whole_number_may_be_written_as_10_0(raw: Raw) -> None:
    raw.call(2, "workspace_create", ttl_seconds=600.0, vcpu_count=1.0, mem_mib=512.0)
    made = raw.hear()["result"]
    assert made["isError"] is False and made["structuredContent"]["vcpu_count"] == 1


def test_an_argument_that_is_null_counts_as_not_given(raw: Raw) -> None:
    raw.call(2, "workspace_exec", workspace_id=raw.workspace(), command="x", cwd=None, timeout_seconds=None)

    assert raw.hear()["result"]["structuredContent"]["cwd"] == "/workspace"


def test_a_defect_of_ours_is_told_without_its_details_and_the_server_goes_on(raw: Raw) -> None:
    id_ = raw.workspace()
    raw.call(2, "workspace_exec", workspace_id=id_, command="break")
    assert "ZeroDivisionError" in raw.hear()["result"]["content"][0]["text"]
    raw.call(3, "workspace_exec", workspace_id=id_, command="x")
    assert raw.hear()["result"]["structuredContent"]["exit_code"] == 3


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"jsonrpc":"2.0","id":7}',
        b'{"id":7,"method":"ping"}',
        b"",
        b"{" * 99_999,
    ],
    ids=lambda line: str(line[:12]),
)
def test_what_is_no_message_is_passed_over(raw: Raw, line: bytes) -> None:
    raw.say(line)
    raw.say({"id": 9, "method": "ping"})

    heard = [raw.hear()]
    while heard[-1].get("id") != 9:
        heard.append(raw.hear())
    assert heard[-1]["result"] == {}


@pytest.mark.parametrize("params", [None, {}, {"name": 5}, {"name": "vm_run", "arguments": []}, {"arguments": {}}])
def test_a_call_without_a_proper_form_is_refused(raw: Raw, params: Any) -> None:
    raw.say({"id": 8, "method": "tools/call", **({"params": params} if params is not None else {})})

    assert raw.hear()["error"]["code"] == -32602


def test_huge_arguments_are_refused_and_a_message_beyond_all_measure_too(raw: Raw) -> None:
    raw.call(2, "workspace_exec", workspace_id="ws-0", command="x" * 20_000_000)
    assert "workspace_sync_push" in raw.hear()["result"]["content"][0]["text"]
    raw.call(3, "workspace_exec", workspace_id="ws-0", command="x" * 70_000_000)
    heard = raw.hear()
    assert heard["id"] == 3 and "bytes" in heard["error"]["data"]
    raw.say(b'{"jsonrpc":"2.0","method":"tools/call","params":{"x":"' + b"x" * 70_000_000 + b'"},"id":"last"}')
    assert raw.hear()["id"] == "last"


def test_a_cancelled_command_is_interrupted(raw: Raw) -> None:
    raw.call(2, "workspace_exec", workspace_id=raw.workspace(), command="wait", timeout_seconds=60)
    assert raw.stderr.readline() == b"running\n"
    raw.say({"method": "notifications/cancelled", "params": {"requestId": 2}})

    assert raw.stderr.readline() == b"interrupted\n"
    raw.say({"id": 3, "method": "ping"})
    assert raw.hear()["id"] == 3


def test_a_client_that_vanishes_takes_its_command_and_the_server_with_it(raw: Raw) -> None:
    raw.call(2, "workspace_exec", workspace_id=raw.workspace(), command="wait", timeout_seconds=60)
    assert raw.stderr.readline() == b"running\n"
    raw.stdin.close()
    raw.stdout.close()

    assert raw.process.wait(10) == 0
    assert raw.stderr.read() == b"interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_server_though_the_client_stays(raw: Raw, number: signal.Signals) -> None:
    raw.call(2, "workspace_exec", workspace_id=raw.workspace(), command="wait", timeout_seconds=60)
    assert raw.stderr.readline() == b"running\n"

    raw.process.send_signal(number)

    assert raw.process.wait(10) == 128 + number
    assert b"Traceback" not in raw.stderr.read()


def test_a_reader_that_stops_reading_does_not_keep_the_server(raw: Raw) -> None:
    id_ = raw.workspace()
    for number in range(2, 40):
        raw.call(number, "workspace_exec", workspace_id=id_, command="lines 100000")
    raw.stdin.close()

    assert raw.process.wait(30) in (0, 1)


def test_progress_is_told_on_a_long_call(converse: Converse) -> None:
    async def talk(client: Client) -> list[str]:
        id_ = (await client.call_tool("workspace_create", {})).structured_content["workspace_id"]
        told: list[str] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            told.append(f"{progress} of {total}: {message}")
            scope.cancel()

        with anyio.CancelScope() as scope:
            arguments = {"workspace_id": id_, "command": "wait", "timeout_seconds": 60}
            await client.call_tool("workspace_exec", arguments, progress_callback=on_progress)
        return told

    assert "8 bytes of output" in converse(talk)[0]


def test_calls_run_side_by_side(converse: Converse) -> None:
    async def talk(client: Client) -> int:
        id_ = (await client.call_tool("workspace_create", {})).structured_content["workspace_id"]
        done = 0

        async def execute() -> None:
            nonlocal done
            result = await client.call_tool("workspace_exec", {"workspace_id": id_, "command": "x"})
            done += result.structured_content["exit_code"] == 3

        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                await client.call_tool("workspace_exec", {"workspace_id": id_, "command": "wait"})

            tasks.start_soon(wait)
            async with anyio.create_task_group() as quick:
                for _ in range(30):
                    quick.start_soon(execute)
            tasks.cancel_scope.cancel()
        return done

    assert converse(talk) == 30


def test_a_thousand_calls_in_a_row_leave_no_trace(raw: Raw) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{raw.process.pid}/fd").iterdir()))

    raw.call(2, "workspace_list")
    raw.hear()
    before, began = descriptors(), time.monotonic()
    for number in range(3, 1003):
        raw.call(number, "workspace_list")
        assert raw.hear()["id"] == number
    assert descriptors() == before
    assert time.monotonic() - began < 60


LOUD = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pyro_mcp import Pyro
from tests.mcp_server import fake_server

quiet = Pyro.list_workspaces

def loud(self):
    print("stray", flush=True)
    os.system("echo stray; cat")
    return quiet(self)

Pyro.list_workspaces = loud
fake_server.main()
"""


def test_nothing_but_the_protocol_is_on_the_wire(fake_home: Path) -> None:
    assert fake_home.exists()
    with started([serving()[0], "-c", LOUD, str(Path(__file__).parents[2])]) as server:
        server.greet()
        server.call(1, "workspace_list")
        assert server.hear()["id"] == 1
        server.stdin.close()
        assert server.process.wait(20) == 0
        assert server.stderr.read().split() == [b"stray", b"stray"]
