"""One story, told by the SDK and by the command line: the same words, the same shapes, the same results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyro_mcp import Pyro, results
from tests.surfaces.conftest import Cli

DEBIAN = "debian:12"
RUN = ["sh", "-c", "echo out; echo err >&2; exit 3"]

# What two runs cannot have in common.
_VOLATILE = {"vm_id", "duration_ms", "create_ms", "start_ms", "exec_ms", "reset_ms", "delete_ms", "stdout"}

STORY: dict[str, tuple[list[str], Any, Any]] = {
    "env list": (["env", "list"], lambda pyro: pyro.list_environments(), results.EnvironmentList),
    "env pull": (["env", "pull", DEBIAN], lambda pyro: pyro.pull_environment(DEBIAN), results.EnvironmentDetails),
    "env inspect": (
        ["env", "inspect", DEBIAN], lambda pyro: pyro.inspect_environment(DEBIAN), results.EnvironmentDetails
    ),
    "prepare": (["prepare", DEBIAN], lambda pyro: pyro.prepare(DEBIAN), results.PrepareReport),
    "doctor": (["doctor", "--environment", DEBIAN], lambda pyro: pyro.doctor(DEBIAN), results.DoctorReport),
    "run": (["run", DEBIAN], lambda pyro: pyro.run_in_vm(DEBIAN, command=RUN), results.VmExecResult),
    "demo": (["demo"], lambda pyro: pyro.demo(), results.DemoReport),
}  # fmt: skip


@pytest.mark.parametrize("verb", STORY)
def test_both_surfaces_tell_the_same(verb: str, warm_cli: Cli, pyro: Pyro) -> None:
    words, call, shape = STORY[verb]

    told = warm_cli(*words, "--json", *(["--", *RUN] if verb == "run" else []))

    printed = json.loads(told.stdout)
    assert set(printed) == set(shape.__required_keys__)
    assert without_chance(printed) == without_chance(json.loads(json.dumps(call(pyro))))
    assert (told.returncode, told.stderr) == (3 if verb == "run" else 0, "")


def test_run_gives_the_command_its_input_and_us_its_output(warm_cli: Cli) -> None:
    told = warm_cli("run", DEBIAN, "--", "sh", "-c", "cat; echo done >&2; exit 7", stdin="hello\n")

    assert (told.returncode, told.stdout, told.stderr) == (7, "hello\n", "done\n")


def test_demo_tells_where_it_ran(warm_cli: Cli) -> None:
    told = warm_cli("demo")

    assert told.stdout.startswith("Linux ")
    assert "guest_virtio on " in told.stdout
    assert told.returncode == 0


def without_chance(result: Any) -> Any:
    """A result without what differs from one run to the next."""
    if isinstance(result, dict):
        if str(result.get("name")).endswith(" space"):
            return "space"
        return {key: without_chance(value) for key, value in result.items() if key not in _VOLATILE}
    return [without_chance(one) for one in result] if isinstance(result, list) else result
