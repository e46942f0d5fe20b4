"""A host gets the list of tools at once, long before the library of the protocol is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp.mcp_server.greeting import VERSIONS
from tests.mcp_server.conftest import SERVER, Raw, serving, started


def greeted(server: Raw, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a server answers to the first two questions of a host."""
    client = {"name": "raw", "version": "1"}
    hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": client}
    server.say({"id": 7, "method": "initialize", "params": hello})
    about = server.hear()
    server.say({"method": "notifications/initialized"})
    server.say({"id": "tools", "method": "tools/list"})
    return about, server.hear()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_early_answers_are_those_of_the_library(fake_home: Path, version: str) -> None:
    assert fake_home.exists()
    with started(serving()) as early, started(serving()) as late:
        late.say({"id": 1, "method": "ping"})  # which the library has to answer, and all that follows
        assert late.hear() == {"jsonrpc": "2.0", "id": 1, "result": {}}

        assert greeted(early, version) == greeted(late, version)


def test_the_tools_are_listed_while_the_library_is_still_imported(fake_home: Path) -> None:
    endless = fake_home / "endless"
    for package in ("mcp", "mcp_types", "pydantic"):
        (endless / package).mkdir(parents=True)
        (endless / package / "__init__.py").write_text("import time\ntime.sleep(600)\n")
    code = f"import runpy, sys; sys.path.insert(0, {str(endless)!r}); runpy.run_path({str(SERVER)!r}, None, '__main__')"
    with started([sys.executable, "-c", code]) as server:
        about, tools = greeted(server, "2025-06-18")

    assert about["result"]["serverInfo"]["name"] == "pyro"
    assert len(tools["result"]["tools"]) > 40


def test_after_the_greeting_the_library_goes_on_and_repeats_nothing(fake_home: Path) -> None:
    assert fake_home.exists()
    with started(serving()) as server:
        greeted(server, "2025-06-18")
        server.call(3, "workspace_list")
        assert server.hear()["id"] == 3
        server.say({"id": 4, "method": "tools/list"})
        assert server.hear()["id"] == 4
        server.stdin.close()
        assert server.process.wait(30) == 0
        assert os.read(server.stdout.fileno(), 100) == b""


@pytest.mark.parametrize(
    "first",
    [
        {"id": 1, "method": "initialize"},
        {"id": 1, "method": "initialize", "params": {"protocolVersion": 5}},
        {"id": 1, "method": "no/such/thing"},
    ],
    ids=str,
)
def test_a_first_message_that_is_no_greeting_is_refused_by_the_library(fake_home: Path, first: dict[str, Any]) -> None:
    assert fake_home.exists()
    with started(serving()) as server:
        server.say(first)

        assert "error" in server.hear()


def test_a_client_that_leaves_at_once_leaves_no_server(fake_home: Path) -> None:
    assert fake_home.exists()
    with started(serving()) as server:
        server.stdin.close()
        assert server.process.wait(30) == 0
