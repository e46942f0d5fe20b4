"""What a person sees: lines that fit, errors apart, and nothing that only a terminal understands."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from pyro_mcp import Pyro, __version__, errors
from tests.surfaces.conftest import Cli

VERBS = [
    ["env", "list"], ["env", "inspect", "debian:12"], ["env", "pull", "debian:12"],
    ["doctor"], ["doctor", "--environment", "debian:12"], ["prepare"], ["demo"],
]  # fmt: skip
HELP = [["--help"], *([*words, "--help"] for words in (["env"], ["run"], ["doctor"], ["prepare"], ["demo"]))]
HELP += [["env", verb, "--help"] for verb in ("list", "pull", "inspect", "prune")]
FAILING = {
    "an unknown verb": ["brew"],
    "an unknown environment": ["env", "pull", "debian:1"],
    "a command that is missing": ["run", "debian:12"],
    "a machine without a processor": ["run", "debian:12", "--vcpu-count", "0", "--", "true"],
}


def faults(told: subprocess.CompletedProcess[str]) -> list[str]:
    """What a narrow terminal or a pipe would suffer from; a path or digest too long for any line is forgiven."""
    lines = told.stdout.splitlines()
    found = [line for line in lines if len(line) > 80 and max(map(len, line.split())) < 40]
    return found + [line for line in lines if "\x1b" in line or "\r" in line] + told.stderr.splitlines()


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_what_a_verb_prints_fits_a_narrow_terminal_and_a_pipe(words: list[str], warm_cli: Cli) -> None:
    told = warm_cli(*words)

    assert told.returncode == 0
    assert faults(told) == []


@pytest.mark.parametrize("words", [*HELP, ["env", "list"], ["env", "prune"]], ids=" ".join)
def test_help_and_empty_lists_fit_too(words: list[str], cli: Cli) -> None:
    told = cli(*words)

    assert told.returncode == 0
    assert faults(told) == []


@pytest.mark.parametrize("words", FAILING.values(), ids=FAILING)
def test_what_fails_says_so_on_stderr_only(words: list[str], cli: Cli) -> None:
    told = cli(*words)

    assert told.returncode != 0
    assert told.stdout == ""
    assert "\x1b" not in told.stderr
    assert "Traceback" not in told.stderr


def test_with_json_an_error_is_json_too(cli: Cli) -> None:
    told = cli("env", "pull", "debian:1", "--json")

    error = json.loads(told.stdout)["error"]
    assert (error["code"], told.returncode) == ("unknown_environment", 2)
    assert "debian:1" in error["message"] and "debian:12" in error["hint"]


def test_the_help_names_the_exit_code_of_every_error(cli: Cli) -> None:
    table = cli("--help").stdout.split("exit codes:")[1]
    named = {int(code) for code in re.findall(r"(?:^|  )(\d+) ", table, re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PyroError)]

    assert {kind.exit_code for kind in kinds if kind is not errors.PyroError} - named == set()


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version").stdout == f"pyro {__version__}\n"


def test_the_sdk_and_the_command_line_fail_with_the_same_words(cli: Cli, pyro: Pyro) -> None:
    with pytest.raises(errors.UnknownEnvironment) as raised:
        pyro.inspect_environment("debian:99")

    assert raised.value.message in cli("env", "inspect", "debian:99").stderr
