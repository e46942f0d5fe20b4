"""Many clients of one workspace at once: commands wait in order, and files can be worked on meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import Busy
from tests.waiting import until

DEADLINE = 60.0
AT_ONCE = 14


def test_fifty_short_commands_at_once_all_succeed(pyro: Pyro, workspace: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        results = pool.map(lambda n: pyro.exec_workspace(workspace, command=f"echo {n}")["stdout"], range(50))
        assert [int(line) for line in results] == list(range(50))


def test_files_can_be_used_while_commands_have_all_their_connections(pyro: Pyro, workspace: str) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        line = "touch started-$0; while [ ! -e stop ]; do sleep 0.1; done"
        commands = [
            pool.submit(pyro.exec_workspace, workspace, command=["sh", "-c", line, str(n)], timeout_seconds=DEADLINE)
            for n in range(AT_ONCE)
        ]
        until(
            "every command has started",
            lambda: len(pyro.list_workspace_files(workspace, "/workspace")["entries"]),
            AT_ONCE.__eq__,
            deadline_seconds=DEADLINE,
        )
        with pytest.raises(Busy, match="all 14 connections for commands"):
            pyro.exec_workspace(workspace, command="true")
        pyro.write_workspace_file(workspace, "stop", text="")
        assert {command.result(DEADLINE)["exit_code"] for command in commands} == {0}
