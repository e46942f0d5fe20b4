"""A command line that is wrong, or unfinished: near matches, help that fits, completion in the shells."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.cli.program import command_parser
from pyro_mcp.command_line import own_actions, verbs
from tests.surfaces.conftest import Cli

MISTAKES = {
    "a command": (["wrkspace", "list"], "did you mean 'workspace'?"),
    "a command of a group": (["workspace", "lst"], "did you mean 'list'?"),
    "an option": (["workspace", "create", "debian:12", "--sed-path", "x"], "did you mean '--seed-path'?"),
    "an option with its value": (["workspace", "create", "debian:12", "--nmae=x"], "did you mean '--name'?"),
    "a choice": (["completion", "tcsh"], "choose from bash, zsh, fish"),
    "nothing like it": (["brew"], "choose from doctor, prepare"),
}


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every parser there is: of the program, of its groups, of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistyped_word_brings_its_near_match(words: list[str], said: str, cli: Cli) -> None:
    told = cli(*words)

    assert (told.returncode, told.stdout) == (2, "")
    assert said in told.stderr


@pytest.mark.parametrize("words", [[], ["workspace"], ["env"], ["workspace", "snapshot"]], ids=" ".join)
def test_a_group_without_its_command_shows_what_there_is(words: list[str], cli: Cli) -> None:
    told = cli(*words)

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith(" ".join(["usage: pyro", *words]))
    assert "list" in told.stderr


@pytest.mark.parametrize("words", [["run", "debian:12"], ["workspace", "exec", "ws-1", "--"]], ids=" ".join)
def test_a_command_that_is_missing_is_wrong_usage(words: list[str], cli: Cli) -> None:
    told = cli(*words)

    assert (told.returncode, told.stdout) == (2, "")
    assert "there is no command to run" in told.stderr and " -- " in told.stderr


@pytest.mark.parametrize(
    "words", [["--json", "workspace", "list"], ["workspace", "--json", "list"], ["workspace", "list", "--json"]]
)
def test_json_is_asked_for_in_any_place(words: list[str], cli: Cli) -> None:
    assert json.loads(cli(*words).stdout) == {"count": 0, "workspaces": []}


def test_several_workspaces_are_deleted_by_id_or_name_and_each_failure_is_named(warm_cli: Cli, pyro: Pyro) -> None:
    first, second = (pyro.create_workspace("debian:12", name=name)["workspace_id"] for name in ("one", "two"))

    told = warm_cli("workspace", "delete", "one", "ws-none", second)

    assert told.returncode == 3
    assert told.stdout == f"{first} is deleted\n{second} is deleted\n"
    assert "ws-none" in told.stderr
    assert pyro.list_workspaces()["count"] == 0


def test_every_help_fits_80_columns_and_explains_each_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = list(parsers(command_parser()))

    assert len(found) > 40
    assert [line for one in found for line in one.format_help().splitlines() if len(line) > 80] == []
    inner = [(one, action) for one in found for action in one._actions]
    assert [f"{one.prog} {action.dest}" for one, action in inner if not action.help and action.choices is None] == []
    listed = [(one, action) for one in verbs(command_parser()) for action in own_actions(one)]
    assert [f"{one.prog} {action.dest}" for one, action in listed if not action.help] == []


@pytest.mark.parametrize("module", ["pyro_mcp.cli.program", "pyro_mcp.cli.workspace", "pyro_mcp.sdk"])
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_the_middle_of_an_import_leaves_no_traceback(module: str, name: str, status: int) -> None:
    program = (
        "import os, signal, sys\n"
        "class Signalling:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.{name})\n"
        "sys.meta_path.insert(0, Signalling())\n"
        "from pyro_mcp.cli import main\n"
        "sys.exit(main(['workspace', 'list']))\n"
    )
    told = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)

    assert abs(told.returncode) in {status, status - 128}
    assert "Traceback" not in told.stderr and told.stdout == ""


def completed(shell: str, line: str, home: Path) -> str:
    """What a shell offers for the end of `line`, by the code that `pyro completion` prints for it."""
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    inside = {
        "bash": (
            f"source <(pyro completion bash); COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; COMP_TYPE=9; "
            f"COMP_LINE='{line}'; COMP_POINT={len(line)}; "
            "_python_argcomplete pyro; printf '%s\\n' \"${COMPREPLY[@]}\""
        ),
        "fish": f"pyro completion fish | source; complete --do-complete '{line}'",
        # Completion in zsh needs its editor, so a pseudo terminal of zsh's own runs an interactive one.
        "zsh": (
            "zmodload zsh/zpty; zpty inner zsh -fi; "
            'send() { zpty -w inner "$1" }; '
            "send 'autoload -U compinit; compinit -u; source <(pyro completion zsh); PS1=; echo rea\"\"dy'; "
            "zpty -r -m inner text '*ready*'; "
            f"zpty -w -n inner $'{line}\\t\\t'; zpty -r -m inner text '*stop *--*'; print -r -- $text"
        ),
    }[shell]
    environ = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(home), "TERM": "dumb"}
    return subprocess.run(
        [shell, "-c", inside], check=True, capture_output=True, text=True, timeout=60, env=environ
    ).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_the_commands(shell: str, home: Path) -> None:
    assert {"status", "start", "stop"} <= set(completed(shell, "pyro workspace st", home).split())


def test_a_shell_completes_what_exists(home: Path) -> None:
    assert completed("bash", "pyro run ", home).split() == [
        "debian:12",
        "debian:12-agent",
        "debian:12-base",
        "debian:12-build",
    ]


def test_a_command_does_not_load_what_only_few_need(home: Path) -> None:
    program = (
        "import sys; from pyro_mcp.cli import main; main(['workspace', 'list'])\n"
        "print({'ssl', 'urllib.request', 'zipfile', 'configparser', 'mcp', 'pyro_mcp.engine.uml'} & set(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60, cwd=home
    )

    assert told.stdout.splitlines()[-1] == "set()"
