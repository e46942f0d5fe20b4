"""Nothing presses Enter in a dialog of a real agent program: its screen shows whether the prompt has the focus."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from moot.agents.place import AgentPlace, HostFiles
from moot.agents.prompt import submit, type_command
from moot.agents.screen import Screen
from moot.agents.state import WAITING, write_state
from moot.agents.tmux import Tmux
from moot.harness import Harness, harness_named
from pyro_mcp.errors import Conflict
from tests.chat_hosts.model_api import Model, Story, served
from tests.moot.harness_places import PROGRAMS, Settings, place_in
from tests.moot.launch.test_tmux import PLAIN, Recorder, tmux
from tests.waiting import until

__all__ = ["tmux"]
SESSION = "moot-spec"
KEY = "sk-ant-0123456789abcdefghijklmnop"
MODEL = "anthropic/claude-sonnet-4-5"
DIALOGS = {"claude-code": ("/model", "/permissions"), "codex": ("/model", "/review"), "opencode": ("/models",)}


class Scripted:
    """A screen that says one thing after another, and then the last one for ever."""

    def __init__(self, *found: bool | None) -> None:
        self._found: Iterator[bool | None] = chain(found[:-1], repeat(found[-1]))

    def prompt_is_empty(self, _screen: Screen) -> bool | None:
        return next(self._found)


def test_enter_is_pressed_only_while_a_line_is_at_the_prompt(tmux: Tmux, tmp_path: Path) -> None:
    recorder = Recorder(tmux, tmp_path, SESSION, PLAIN)
    tries = iter([False, False, True])
    reader = Scripted(True, False, False, False)
    assert submit(tmux, SESSION, reader, "one", accepted=lambda _: next(tries))
    assert recorder.got(lambda text: text.count("\r") >= 3) == "[one\r\r\r"

    assert not submit(tmux, SESSION, Scripted(True, False, None), "two", accepted=lambda _: False)
    assert recorder.got(lambda text: text.endswith("two\r")) == "[one\r\r\rtwo\r"

    for shown in (None, False):
        assert not submit(tmux, SESSION, Scripted(shown), "three", accepted=lambda _: True)
    assert not submit(tmux, SESSION, Scripted(True, None), "four"), "a dialog was opened meanwhile"
    assert recorder.got(lambda text: text.endswith("four")) == "[one\r\r\rtwo\rfour"


def test_a_command_is_refused_while_the_agent_waits_for_permission(tmux: Tmux, tmp_path: Path) -> None:
    recorder = Recorder(tmux, tmp_path, SESSION, PLAIN)
    write_state(tmp_path, WAITING)
    with pytest.raises(Conflict, match="waits for permission"):
        type_command(tmux, SESSION, Scripted(True, False), tmp_path, "/compact")
    assert recorder.got(bool) == "["


def rest() -> Story:
    """Do nothing, and end the turn."""
    yield from ()
    return "I wait."


def claude(place: AgentPlace, harness: Harness, address: str) -> tuple[list[str], dict[str, str]]:
    variables = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": address, "DISABLE_AUTOUPDATER": "1"}
    variables["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] = "1"
    accepted = {"customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}}
    Path(place.home, ".claude.json").write_text(json.dumps(accepted))
    harness.seed(Settings(), place, HostFiles(), environ=variables, permission_mode="acceptEdits")
    Path(place.run_folder, "mcp.json").write_text('{"mcpServers": {}}')
    argv = harness.argv(Settings(), place, prompt="go", permission_mode="acceptEdits")
    flag = argv.index("--dangerously-load-development-channels")
    return argv[:flag] + argv[flag + 2 :], variables


def codex(place: AgentPlace, harness: Harness, address: str) -> tuple[list[str], dict[str, str]]:
    harness.seed(Settings(), place, HostFiles(), environ={}, permission_mode="bypassPermissions")
    argv = harness.argv(Settings(), place, prompt="go", permission_mode="bypassPermissions")
    for number, word in reversed(list(enumerate(argv))):
        if word.startswith("mcp_servers."):
            del argv[number - 1 : number + 1]
    provider = {"name": '"scripted"', "base_url": f'"{address}/v1"', "wire_api": '"responses"'}
    settings = {"model": '"scripted"', "model_provider": '"scripted"', "analytics.enabled": "false"}
    settings |= {"check_for_update_on_startup": "false"}
    settings |= {f"model_providers.scripted.{name}": value for name, value in provider.items()}
    options = [word for name, value in settings.items() for word in ("--config", f"{name}={value}")]
    return [argv[0], *options, *argv[1:]], {}


def opencode(place: AgentPlace, harness: Harness, address: str) -> tuple[list[str], dict[str, str]]:
    harness.seed(Settings(), place, HostFiles(), environ={}, permission_mode="bypassPermissions")
    path = Path(place.run_folder, "opencode.json")
    provider = {"anthropic": {"options": {"baseURL": f"{address}/v1", "apiKey": "key"}}}
    settings = {"provider": provider, "mcp": {}, "model": MODEL, "small_model": MODEL}
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    for folder in (Path(place.home, ".config/opencode"), Path(place.run_folder)):
        (folder / "node_modules").mkdir(parents=True)  # else it installs a package from a registry
        (folder / "package-lock.json").write_text('{"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}}')
    variables = dict(harness.variables(Settings(), place, permission_mode="bypassPermissions"))
    quiet = {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"}
    argv = harness.argv(Settings(), place, prompt="go", permission_mode="bypassPermissions")
    return argv, variables | quiet


@pytest.mark.parametrize("launched", [claude, codex, opencode], ids=list(DIALOGS))
def test_nothing_is_typed_in_a_dialog_of_a_real_agent(
    tmux: Tmux, tmp_path: Path, launched: object, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    place, harness = place_in(tmp_path), harness_named(name)
    subprocess.run(["git", "init", "--quiet", place.tree], check=True)
    model = Model(rest())
    with socket.create_server(("127.0.0.1", 0)) as listening, served(model, listening) as address:
        assert callable(launched)
        argv, variables = launched(place, harness, address)
        variables |= {"HOME": place.home, "PATH": f"{PROGRAMS}:/usr/bin:/bin", "LANG": "C.UTF-8"}
        words = shlex.join(f"{key}={value}" for key, value in variables.items())
        tmux.start(SESSION, ["sh", "-c", f"exec env -i TERM=$TERM {words} {shlex.join(argv)}"], folder=place.tree)

        def shows(*wanted: bool | None) -> None:
            what = f"the prompt is one of {wanted}"
            until(
                what,
                lambda: harness.prompt_is_empty(tmux.look(SESSION)),
                lambda found: found in wanted,
                deadline_seconds=120,
            )

        def reached(text: str) -> None:
            until(text, lambda: [body for _, body in model.received if text.encode() in body], deadline_seconds=120)

        until("its answer", lambda: "I wait." in tmux.screen(SESSION), deadline_seconds=120)
        shows(True)
        for dialog in DIALOGS[name]:
            open_dialog(tmux, dialog, shows)
            assert not submit(tmux, SESSION, harness, "a message")
            with pytest.raises(Conflict, match="shows a dialog"):
                type_command(tmux, SESSION, harness, tmp_path / "none", harness.compact_command)
            assert harness.prompt_is_empty(tmux.look(SESSION)) is None, "the dialog is as it was"
            assert "a message" not in tmux.screen(SESSION) and "/compact" not in tmux.screen(SESSION)
            tmux.press(SESSION, "Escape")
            shows(True)
        assert submit(tmux, SESSION, harness, "a message " * 100)
        reached("a message a message")


def open_dialog(tmux: Tmux, command: str, shows: object) -> None:
    """Type a command that opens a dialog, as a person does."""
    assert callable(shows)
    tmux.type_line(SESSION, command)
    shows(False)
    until("its menu", lambda: tmux.screen(SESSION), lambda found: found.count(command) > 1)
    tmux.press_enter(SESSION)
    shows(None)
