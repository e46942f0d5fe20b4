"""Every verb and argument that a hint names exists, and each surface renders it in its own words."""

from __future__ import annotations

import ast
import copy
import inspect
import json
from collections.abc import Iterator

import pytest

from pyro_mcp import Pyro
from pyro_mcp.cli.program import command_parser
from pyro_mcp.command_line import verbs
from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.hints import VERBS, Argument, CommandWords, Hint, Verb, render_hints
from pyro_mcp.mcp_server.profiles import BY_NAME
from pyro_mcp.mcp_transport.http import listen
from pyro_mcp.redaction import Mask
from pyro_mcp.serving import ServeKeywords
from tests.style.project import ROOT, python_files, shown


def parameters_of(method: str) -> set[str]:
    """Return the names of the parameters of a method of the SDK, with the options of the server if it takes them."""
    parameters = inspect.signature(getattr(Pyro, method)).parameters.values()
    takes_options = any(one.kind == one.VAR_KEYWORD for one in parameters)
    return {one.name for one in parameters} | (set(ServeKeywords.__annotations__) if takes_options else set())


def calls_of(name: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield, of each call of `name` in our code with a literal, where it is, the literal, and the keywords."""
    for path in python_files(ROOT / "src"):
        for node in ast.walk(ast.parse(path.read_text(), path)):
            match node:
                case ast.Call(func=ast.Name(id=called), args=[ast.Constant(value=str(value)), *_]) if called == name:
                    keywords = [keyword.arg for keyword in node.keywords if keyword.arg is not None]
                    yield f"{shown(path)}:{node.lineno}", value, keywords


def test_each_argument_of_a_hint_is_a_parameter_of_the_sdk_or_the_server() -> None:
    methods = [name for name in dir(Pyro) if not name.startswith("_") and callable(getattr(Pyro, name))]
    known = {*ServeKeywords.__annotations__, *inspect.signature(listen).parameters}.union(*map(parameters_of, methods))
    found = [(where, argument) for where, argument, _ in calls_of("Argument")]
    assert len(found) > 20
    assert [one for one in found if one[1] not in known] == []


def test_each_argument_of_a_verb_is_a_parameter_of_its_method() -> None:
    found = [(where, verb, keyword) for where, verb, keywords in calls_of("Verb") for keyword in keywords]
    assert len(found) > 10
    assert [one for one in found if one[2] not in parameters_of(VERBS[one[1]][0])] == []


def test_bytes_of_a_file_are_an_option_of_another_name() -> None:
    assert Hint("{}", Argument("binary", True)).render(CommandWords()) == "--base64"


@pytest.mark.parametrize("command", VERBS)
def test_a_verb_of_hints_is_a_command_a_method_and_a_tool(command: str) -> None:
    method, tool = VERBS[command]
    assert f"pyro {command}" in {verb.prog for verb in verbs(command_parser())}
    assert callable(getattr(Pyro, method))
    assert not tool or tool in BY_NAME


def test_a_hint_has_the_words_of_each_surface() -> None:
    hint = Hint("{} ends it", Verb("workspace stop", workspace_id="ws-1", force=True))
    assert hint == "stop_workspace('ws-1', force=True) ends it"
    assert hint.render(CommandWords()) == "'pyro workspace stop ws-1 --force' ends it"


def test_an_option_has_its_own_name_and_is_repeated() -> None:
    hint = Hint("add {}", Argument("allow_hosts", ["a.example", "b.example"]))
    assert hint.render(CommandWords()) == "add --allow-host a.example --allow-host b.example"


def test_hints_are_joined_and_what_is_empty_left_out() -> None:
    hint = Hint.joined("", "do this", Hint("{} shows it", Verb("doctor")), "")
    assert hint == "do this; doctor() shows it"
    assert Hint.joined("", "") == ""


def test_a_text_may_hold_braces() -> None:
    assert Hint("move {} away", "{0}") == "move {0} away"


def test_a_hint_in_a_result_survives_copies_and_is_json() -> None:
    result = {"checks": [{"hint": Hint("{} helps", Verb("doctor"))}], "ok": False}
    for copied in (copy.copy(result), copy.deepcopy(result)):
        assert render_hints(copied, CommandWords()) == {"checks": [{"hint": "'pyro doctor' helps"}], "ok": False}
    assert json.loads(json.dumps(result))["checks"] == [{"hint": "doctor() helps"}]


def test_masking_keeps_a_hint_that_holds_no_secret() -> None:
    mask = Mask({"TOKEN": "abcdef-123456"})
    with pytest.raises(NotFound) as caught, mask.errors():
        raise NotFound("no abcdef-123456", hint=Hint("{} helps", Verb("doctor")))
    assert "abcdef" not in caught.value.message
    assert render_hints(caught.value.hint, CommandWords()) == "'pyro doctor' helps"


def test_an_unknown_chat_host_gets_a_near_match() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Pyro().host_config("claude")
    assert "did you mean 'claude-code'?" in caught.value.hint
