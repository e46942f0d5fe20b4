"""A program with verbs of its own, made of what all command lines share."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Iterator

import pytest

from pyro_mcp.command_line import Parser, add_verbs, print_error, print_json, run_command_line, verb
from pyro_mcp.errors import Conflict, NotFound

Act = Callable[[argparse.Namespace], int]


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Give this process its handlers of signals back, which a command line replaces."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(*words: str, act: Act, **defaults: object) -> int:
    """Run the program `brew`, which has one verb, `pour`; return its exit code."""

    def command_parser() -> Parser:
        parser = Parser(prog="brew", description="Brew.")
        made = verb(add_verbs(parser, version="1.2"), "pour", "pour a cup", act, example="brew pour tea")
        made.add_argument("drink")
        made.set_defaults(**defaults)
        return parser

    return run_command_line(words, command_parser, lambda _parser: None)


def pour(arguments: argparse.Namespace) -> int:
    print_json({"drink": arguments.drink, "command": arguments.command})
    return 7


def spill(_arguments: argparse.Namespace) -> int:
    error = Conflict("the cup\x1b[2J is full", hint="drink it")
    error.details = {"cups": ["mine"]}
    raise error


def told(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out)


def test_a_verb_gets_its_arguments_and_what_stands_after_the_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pour", "tea", act=pour) == 7
    assert told(capsys) == {"drink": "tea", "command": None}

    assert run("pour", "tea", "--", "--hot", "--", "x", act=pour) == 7
    assert told(capsys) == {"drink": "tea", "command": ["--hot", "--", "x"]}


def test_an_error_is_a_message_of_that_program_with_its_hint_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pour", "tea", act=spill) == Conflict.exit_code

    out, err = capsys.readouterr()
    assert (out, err) == ("", "brew: the cup\\x1b[2J is full\n  drink it\n")


def test_with_json_an_error_has_its_details_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pour", "tea", "--json", act=spill) == Conflict.exit_code

    error = {"code": "conflict", "message": "the cup\x1b[2J is full", "hint": "drink it", "cups": ["mine"]}
    assert told(capsys) == {"error": error}


def test_a_verb_that_runs_a_command_has_an_exit_code_of_its_own_for_failures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("pour", "tea", "--", "x", act=spill, own_failure=125) == 125
    assert run("pour", "tea", act=pour, own_failure=125) == 2
    assert "there is no command to run" in capsys.readouterr().err


def test_a_command_that_is_optional_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pour", "tea", act=pour, own_failure=125, command_optional=True) == 7
    assert told(capsys) == {"drink": "tea", "command": None}
    assert run("pour", "tea", act=spill, own_failure=125, command_optional=True) == 125


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["puor"], "brew: there is no command 'puor'; did you mean 'pour'?"),
        (["pour"], "brew: the following arguments are required: drink"),
        (["pour", "tea", "--jsn"], "brew: unknown arguments: --jsn\n  did you mean '--json'?"),
    ],
)
def test_a_wrong_word_is_wrong_usage_of_that_program(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    try:
        status = run(*words, act=pour)
    except SystemExit as end:
        status = int(str(end.code))

    assert status == 2
    assert capsys.readouterr().err.startswith(said)


def test_the_version_is_that_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--version", act=pour)

    assert capsys.readouterr().out == "brew 1.2\n"


def test_an_error_of_the_system_is_one_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_arguments: argparse.Namespace) -> int:
        raise FileNotFoundError(2, "No such file or directory", "cup")

    assert run("pour", "tea", act=missing) == 2
    assert capsys.readouterr().err.startswith("brew: cup: No such file or directory\n")


def test_an_error_without_a_hint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def none(_arguments: argparse.Namespace) -> int:
        raise NotFound("there is no cup")

    assert run("pour", "tea", act=none) == 3
    assert capsys.readouterr().err == "brew: there is no cup\n"


def test_an_error_is_shown_as_text_with_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("brew", NotFound("no cup \x1b[31m here", hint="look\nagain"))
    assert capsys.readouterr().err == "brew: no cup \\x1b[31m here\n  look\n  again\n"
