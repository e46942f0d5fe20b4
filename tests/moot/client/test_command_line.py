"""The commands of the client as a person runs them: output, exit codes, and no traceback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from moot.cli import main
from tests.moot.client.people import Person
from tests.style.project import ROOT


@dataclass
class Done:
    """What one command has done."""

    returncode: int
    stdout: str
    stderr: str


def moot(*words: str, typed: str = "") -> Done:
    """Run one command in the current folder; an exception that leaves it fails the test."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    out, errors, given = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(typed)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main(words)
    except SystemExit as end:  # wrong usage
        code = int(end.code or 0)
    finally:
        sys.stdin = given
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Done(code, out.getvalue(), errors.getvalue())


def answered(*words: str) -> Any:
    """Return the JSON result of a command that must succeed."""
    done = moot(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_new_user_goes_from_login_to_a_project(person: Person) -> None:
    done = moot("login", "--api-url", person.api_url, typed=f"{person.user.token}\n")
    assert done.stdout == f"Authenticated as Ada ({person.user.actor_id}) on {person.api_url}\n"

    done = moot("init", "--template", "loop-4")
    assert done.returncode == 0, done.stderr
    for line in (
        f"Using profile default (authenticated on {person.api_url})",
        "Found 4 keyless agents there:",
        "  Implementation   ✓",
        "Wrote .moot/actors.json        (4 agents, chmod 600)",
        "Wrote moot.toml                (4 roles, template=loop-4)",
        "Updated .gitignore             (4 entries added)",
        "Done. See .moot/init-report.md for details and next steps.",
    ):
        assert line in done.stdout.splitlines()
    assert all(len(line) <= 80 for line in done.stdout.splitlines())

    shown = moot("config").stdout.splitlines()
    assert shown[:2] == [f"API URL: {person.api_url}", f"Space ID: {person.user.space_id}"]
    assert "  product          harness=claude-code  model=opus  effort=(unset)  theme=blue" in shown
    assert moot("config", "show").stdout.splitlines() == shown
    config = answered("config")
    assert config["agents"]["qa"]["model"] == "sonnet"
    assert moot("config", "set", "template", "mine").stdout == "Set [convo].template = 'mine' in moot.toml\n"
    assert answered("config", "set", "space_id", "spc_2")["value"] == "spc_2"
    agents = {
        role: {"actor_id": one.actor_id, "display_name": one.display_name}
        for role, one in person.actors().actors.items()
    }
    assert answered("config", "focus", person.user.space_id)["agents"] == agents
    assert answered("config", "provision")["agents"] == {}
    again = answered("init", "--update-suggestions")
    assert (again["agents"], again["moot_toml"]) == (agents, "kept")
    keys = {one.api_key for one in person.actors().actors.values()}
    assert not any(key in moot("config", "--json").stdout for key in keys)

    refused = moot("init", "--json")
    assert refused.returncode == 4
    assert json.loads(refused.stdout)["error"]["code"] == "conflict"
    assert refused.stderr.startswith("moot: .moot/actors.json already exists.\n  'moot init --force'")

    for answer in ("", "n\n", "yeah\n"):
        asked = moot("init", "--force", typed=answer)
        assert asked.returncode == 0 and asked.stdout.endswith("Aborted.\n")
    assert json.loads(moot("init", "--force", "--json").stdout) == {"aborted": True}
    assert {one.api_key for one in person.actors().actors.values()} == keys
    assert moot("init", "--force", typed=" YES \n").returncode == 0
    assert not {one.api_key for one in person.actors().actors.values()} & keys


@pytest.mark.usefixtures("home")
def test_the_configuration_as_json_has_the_keys_of_moot_toml(project: Path) -> None:
    (project / "moot.toml").write_text('[harness]\nmodel = "m"\n[agents.qa]\nenv = {A = "${secret:a}"}\n')

    shown = answered("config")
    path = shown.pop("path")

    assert Path(path) == project / "moot.toml"
    assert (shown["harness"]["model"], shown["agents"]["qa"]["model"]) == ("m", "m")
    assert shown["agents"]["qa"]["env"] == {"A": "${secret:a}"}
    # As a file, without what is not set, it means the same.
    (project / "moot.toml").write_text(tomlkit.dumps(_set(shown)))
    assert answered("config") == {"path": path, **shown}
    documented = (ROOT / "docs/teams.md").read_text()
    keys = {*shown["convo"], *shown["harness"], *shown["agents"]["qa"]}
    assert [key for key in keys if not re.search(rf"[`.]{key}`", documented)] == []


def _set(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table without what is null."""
    return {key: _set(one) if isinstance(one, dict) else one for key, one in table.items() if one is not None}


def test_the_token_is_asked_for_without_an_echo(person: Person) -> None:
    terminal, other = pty.openpty()
    words = [sys.executable, "-m", "moot.cli", "login", "--api-url", person.api_url, "--profile", "typed"]
    with subprocess.Popen(words, stdin=other, stdout=other, stderr=other, start_new_session=True) as child:
        os.close(other)
        shown = b""
        while b"Paste your token: " not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, f"{person.user.token}\n".encode())
        while b"Authenticated" not in shown:
            shown += os.read(terminal, 4096)
        status = child.wait(60)
    os.close(terminal)

    assert status == 0
    assert person.user.token.encode() not in shown and b"moot server token create" in shown


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("config",), 3, "no moot.toml found"),
        (("config", "set", "space_id", "x"), 3, "no moot.toml found"),
        (("config", "focus", "x"), 3, "no moot.toml found"),
        (("config", "provision"), 3, "no moot.toml found"),
        (("init",), 5, "not logged in"),
        (("init", "--api-url", "nonsense"), 2, "is not the URL of a server"),
        (("init", "--update-suggestions"), 3, "not found"),
        (("init", "--templat"), 2, "--templat"),
        (("login", "--token", "x"), 2, "doesn't look like"),
        (("login", "--token", "mootup_pat_x", "--api-url", "http://127.0.0.1:1"), 5, "cannot reach"),
        (("login", "--token", "mootup_pat_x", "--api-url", "http://no.such.host.invalid"), 5, "cannot reach"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_failure_has_its_exit_code_and_a_hint(words: tuple[str, ...], code: int, message: str, project: Path) -> None:
    done = moot(*words)

    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert any(message in line for line in lines) and lines[-1].startswith("  ")
    assert [path.name for path in project.iterdir()] == [".git"]


@pytest.mark.usefixtures("home")
def test_a_damaged_file_is_an_error_with_its_field(project: Path) -> None:
    (project / "moot.toml").write_text("[agents.qa]\nmodle = 1\n[convo\n")
    done = moot("config")
    assert done.returncode == 2 and "moot.toml" in done.stderr and "line 3" in done.stderr
    (project / "moot.toml").write_text("[agents.qa]\nmodle = 1\neffort = 'x'\n")
    done = moot("config")
    assert done.returncode == 2
    assert "agents.qa.modle: there is no such key; did you mean 'model'?" in done.stderr
    assert "agents.qa.effort: 'x' is not known" in done.stderr


def test_the_parser_loads_no_database_web_or_http_library() -> None:
    heavy = {"sqlalchemy", "fastapi", "pydantic", "httpx2", "websockets", "tomlkit"}
    program = "import sys; from moot.cli.program import command_parser; command_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert heavy & set(done.stdout.split()) == set()
