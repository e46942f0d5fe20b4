"""The three surfaces choose an accelerator with the same words."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from pyro_mcp import Pyro
from pyro_mcp.errors import InvalidRequest
from tests.mcp_server.conftest import conversation
from tests.surfaces.conftest import Cli

BOTH = ("uml", "tcg")


@pytest.fixture(autouse=True)
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRO_ACCELERATOR", raising=False)


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    return await client.call_tool(tool, arguments)


async def ran_on(client: Client, accelerator: str) -> str:
    done = await call(client, "vm_run", command="true", accelerator=accelerator)
    return str(done.structured_content["accelerator"])


def serve(*options: str) -> list[str]:
    profile = ["--profile", "workspace-full", "--no-project-source"]
    return [sys.executable, "-m", "pyro_mcp.cli", "mcp", "serve", *profile, *options]


@pytest.mark.parametrize("name", BOTH)
def test_one_command_runs_on_the_requested_accelerator(cli: Cli, pyro: Pyro, name: str) -> None:
    told = cli("run", "debian:12", "--accelerator", name, "--json", "--", "true")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["accelerator"] == name
    assert pyro.run_in_vm("debian:12", command="true", accelerator=name)["accelerator"] == name
    assert conversation(partial(ran_on, accelerator=name), serve()) == name


def steady(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report without the numbers that change between two calls, such as the free bytes of the disk."""
    checks = [{**check, "detail": re.sub(r"[\d.]+", "", check["detail"])} for check in report["checks"]]
    return {**report, "checks": checks}


def test_prepare_and_doctor_are_about_the_requested_accelerator(cli: Cli, pyro: Pyro) -> None:
    for name in BOTH:
        prepared = json.loads(cli("prepare", "debian:12", "--accelerator", name, "--json").stdout)
        assert prepared["accelerator"] == name
        told = json.loads(cli("doctor", "--accelerator", name, "--json").stdout)
        assert (told["accelerator"], told["environment"]["readiness"]) == (name, "warm")
        assert steady(pyro.doctor("debian:12", accelerator=name)) == steady(told)
    assert "accelerator: uml" in cli("doctor", "--accelerator", "uml").stdout


def test_an_unknown_accelerator_is_refused_with_the_known_ones(cli: Cli, pyro: Pyro) -> None:
    for words in (
        ["run", "debian:12"],
        ["workspace", "create", "debian:12"],
        ["doctor"],
        ["prepare"],
        ["mcp", "serve"],
    ):
        command = ["--", "true"] if words[0] == "run" else []
        told = cli(*words, "--accelerator", "warp", *command)
        assert told.returncode in (2, 125), words
        assert "'warp'" in told.stderr and "auto, kvm, uml, tcg" in told.stderr
    for call_it in (pyro.create_vm, pyro.create_workspace):
        with pytest.raises(InvalidRequest, match="'warp'"):
            call_it("debian:12", accelerator="warp")


async def bounded(client: Client) -> list[str]:
    own = await call(client, "vm_run", command="true")
    other = await call(client, "vm_run", command="true", accelerator="kvm")
    made = await call(client, "workspace_create", accelerator="auto")
    await call(client, "workspace_delete", workspace_id=made.structured_content["workspace_id"])
    return [own.structured_content["accelerator"], made.structured_content["accelerator"], other.content[0].text]


@pytest.mark.usefixtures("pyro")
def test_a_server_for_one_accelerator_lets_no_call_choose_another(cli: Cli) -> None:
    assert cli("prepare", "debian:12", "--accelerator", "tcg").returncode == 0
    own, made, refused = conversation(bounded, serve("--accelerator", "tcg"))
    assert (own, made) == ("tcg", "tcg")
    assert "machines of this server run on the accelerator tcg" in refused


def test_doctor_says_of_each_accelerator_whether_it_works_and_what_to_do(cli: Cli, pyro: Pyro) -> None:
    checks = {check["name"]: check for check in pyro.doctor()["checks"]}
    told = cli("doctor").stdout
    assert checks["uml"]["ok"] and checks["namespaces"]["ok"]
    assert checks["kvm"]["ok"] or checks["kvm"]["hint"] != ""
    assert f"note kvm {checks['kvm']['detail']}" in " ".join(told.split()) or checks["kvm"]["ok"]


def test_doctor_names_a_host_that_refuses_namespaces(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = cli("doctor")
    assert told.returncode == 5
    assert "MISS  namespaces          bubblewrap cannot build a cage (bwrap: No permissions" in told.stdout
