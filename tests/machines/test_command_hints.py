"""What is said to a command that failed for the want of something."""

from __future__ import annotations

import pytest

from pyro_mcp.hints import CommandWords, Hint, Verb
from pyro_mcp.machines.command_hints import with_hint
from pyro_mcp.machines.commands import ExecOptions
from pyro_mcp.mcp_server.tool_words import ToolWords
from pyro_mcp.results import CommandEnd


def end(exit_code: int, stderr: str, *, timed_out: bool = False) -> CommandEnd:
    return {
        "exit_code": exit_code, "signal": None, "timed_out": timed_out, "stdout": "", "stderr": stderr,
        "stdout_bytes": 0, "stderr_bytes": len(stderr), "truncated": False, "duration_ms": 1.0, "hint": None,
    }  # fmt: skip


def hint(exit_code: int, stderr: str, *, has_network: bool = True, timed_out: bool = False) -> Hint:
    ended = end(exit_code, stderr, timed_out=timed_out)
    with_network = None if has_network else Verb("workspace create", network_policy="egress")
    return Hint.joined(with_hint(ended, with_network=with_network, limit_seconds=120)["hint"] or "")


def command_hint(exit_code: int, stderr: str, *, has_network: bool = True, timed_out: bool = False) -> str:
    return hint(exit_code, stderr, has_network=has_network, timed_out=timed_out).render(CommandWords())


@pytest.mark.parametrize(
    ("exit_code", "stderr", "said"),
    [
        (127, "/bin/sh: 1: pip: not found\n", "debian:12-build have pip, venv and uv"),
        (127, "bash: line 1: uv: command not found\n", "pip, venv and uv"),
        (127, "pip: No such file or directory", "pip, venv and uv"),
        (1, "/usr/bin/python3: No module named pip\n", "pip, venv and uv"),
        (1, "The virtual environment was not created because ensurepip is not\navailable.", "pip, venv and uv"),
        (127, "/bin/sh: 1: npm: not found\n", "package npm"),
        (127, "/usr/bin/env: \u2018node\u2019: No such file or directory\n", "nodejs"),
        (127, "make: g++: not found", "compilers"),
        (127, "/bin/sh: 1: jq: not found", "'pyro env save'"),
    ],
)
def test_what_is_missing_is_said_to_be_where_it_is(exit_code: int, stderr: str, said: str) -> None:
    assert said in command_hint(exit_code, stderr)


@pytest.mark.parametrize(
    ("exit_code", "stderr"),
    [
        (0, "sh: 1: pip: not found"),
        (127, "sh: 1: ./mytool: not found"),
        (1, "cat: pip: No such file or directory"),
        (2, ""),
    ],
)
def test_nothing_is_said_where_nothing_is_known(exit_code: int, stderr: str) -> None:
    assert hint(exit_code, stderr) == ""


def test_a_network_that_is_missing_is_named_and_one_that_is_there_is_not() -> None:
    failed = "curl: (6) Could not resolve host: pypi.org"
    assert "--network-policy egress" in command_hint(6, failed, has_network=False)
    assert hint(6, failed) == ""
    assert "no network" in hint(127, "sh: 1: npm: not found", has_network=False)


def test_a_time_limit_is_named_and_is_longer_where_the_processor_is_emulated() -> None:
    assert command_hint(124, "", timed_out=True) == "killed after 120 s; --timeout-seconds gives it more time"
    assert [ExecOptions().time_limit(name) for name in ("kvm", "tcg", None)] == [30, 120, 30]
    assert ExecOptions(5).time_limit("tcg") == 5


def test_a_model_reads_of_tools_and_arguments() -> None:
    rendered = hint(127, "sh: 1: npm: not found", has_network=False).render(ToolWords())
    assert "env_save keeps" in rendered and 'workspace_create(network_policy="egress")' in rendered
