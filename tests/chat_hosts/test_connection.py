"""One command connects a real host with our server, as often as one likes, and one undoes it."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.chat_hosts.conftest import Desk
from tests.chat_hosts.settings import HOSTS, LISTED, OWN, command, servers, settings


def report(desk: Desk, host: str, cwd: Path | None = None) -> dict[str, Any]:
    hosts = json.loads(desk.pyro("host", "doctor", "--json", cwd=cwd).stdout)["hosts"]
    return next(one for one in hosts if one["host"] == host)


@pytest.mark.parametrize("host", HOSTS)
def test_after_one_connect_the_host_lists_our_server_as_connected(host: str, desk: Desk) -> None:
    told = desk.pyro("host", "connect", host)
    assert (told.returncode, told.stderr) == (0, "")

    words, wanted = LISTED[host]
    listed = desk.run(*words, cwd=desk.home)  # from a folder that has nothing to do with it

    assert re.search(wanted, re.sub(r"\x1b\[[0-9;]*m", "", listed.stdout)), listed.stdout + listed.stderr
    assert command(servers(desk, host)["pyro"]) == [OWN, "mcp", "serve", "--results=text"]


@pytest.mark.parametrize("host", HOSTS)
def test_connecting_again_changes_nothing(host: str, desk: Desk) -> None:
    desk.pyro("host", "connect", host)
    before = settings(desk)[host].read_bytes()

    told = desk.pyro("host", "connect", host, "--json")

    assert json.loads(told.stdout)["outcome"] == "unchanged"
    assert settings(desk)[host].read_bytes() == before


@pytest.mark.parametrize("host", HOSTS)
def test_other_options_replace_the_entry_and_go_to_the_server(host: str, desk: Desk) -> None:
    desk.pyro("host", "connect", host)

    told = desk.pyro("host", "connect", host, "--mode", "inspect", "--project-path", ".", "--json")

    assert json.loads(told.stdout)["outcome"] == "replaced"
    wanted = [OWN, "mcp", "serve", "--mode=inspect", f"--project-path={desk.project}", "--results=text"]
    assert command(servers(desk, host)["pyro"]) == wanted


MINE = {
    "claude-code": '{"mcpServers": {"mine": {"type": "stdio", "command": "/bin/cat", "args": [], "env": {"K": "v"}}}}',
    "codex": '# mine\n[mcp_servers.mine]\ncommand = "/bin/cat" # keep\n\n[tui]\nnotifications = true\n',
    "opencode": '{\n  // mine\n  "mcp": {"mine": {"type": "local", "command": ["/bin/cat"]},}, "theme": "x"\n}',
}


@pytest.mark.parametrize("host", HOSTS)
def test_what_the_user_had_stays_through_connect_and_disconnect(host: str, desk: Desk) -> None:
    path = settings(desk)[host]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MINE[host])
    path.chmod(0o640)

    connected = desk.pyro("host", "connect", host, "--json")
    between = path.read_text()
    gone = desk.pyro("host", "disconnect", host, "--json")

    assert (json.loads(connected.stdout)["outcome"], json.loads(gone.stdout)["outcome"]) == ("added", "removed")
    assert '"pyro"' in between or "mcp_servers.pyro" in between
    assert path.read_text() == MINE[host]
    assert json.loads(desk.pyro("host", "disconnect", host, "--json").stdout)["outcome"] == "absent"


@pytest.mark.parametrize("host", ["codex", "opencode"])
def test_of_two_that_connect_at_once_none_is_lost(host: str, desk: Desk) -> None:
    with ThreadPoolExecutor(4) as pool:
        names = [f"pyro{number}" for number in range(4)]
        done = list(pool.map(lambda name: desk.pyro("host", "connect", host, "--name", name), names))
    assert [one.returncode for one in done] == [0] * 4, done
    told = settings(desk)[host].read_text()
    assert [name for name in names if name in told] == names
    assert list(settings(desk)[host].parent.glob("*.pyro-lock")) == []


def test_an_entry_made_with_other_folders_can_be_repaired(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.home / "other").mkdir(mode=0o700)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_STATE_HOME", str(desk.home / "other"))
        assert desk.pyro("host", "connect", "opencode").returncode == 0
    monkeypatch.delenv("XDG_STATE_HOME")
    done = desk.pyro("host", "repair", "opencode")
    assert done.returncode == 0, done.stderr
    assert str(desk.home / "other") not in settings(desk)["opencode"].read_text()


def test_settings_that_are_a_link_stay_one_and_keep_their_mode(desk: Desk) -> None:
    path, real = settings(desk)["opencode"], desk.home / "dotfiles/opencode.json"
    real.parent.mkdir()
    real.write_text(MINE["opencode"])
    real.chmod(0o640)
    path.parent.mkdir(parents=True)
    path.symlink_to(real)

    assert desk.pyro("host", "connect", "opencode").returncode == 0

    assert path.is_symlink() and '"pyro"' in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


def test_settings_that_are_not_valid_are_left_alone(desk: Desk) -> None:
    path = settings(desk)["opencode"]
    path.parent.mkdir(parents=True)
    path.write_text('{"theme": ')

    told = desk.pyro("host", "connect", "opencode")

    assert (told.returncode, path.read_text()) == (2, '{"theme": ')
    assert "line 1, column 11" in told.stderr


STRANGER = {
    "claude-code": '{"mcpServers": {"pyro": {"type": "stdio", "command": "/bin/cat", "args": ["secret"]}}}',
    "codex": '[mcp_servers.pyro]\ncommand = "/bin/cat"\nargs = ["secret"]\n',
    "opencode": '{"mcp": {"pyro": {"type": "local", "command": ["/bin/cat", "secret"]}}}',
}


@pytest.mark.parametrize("host", HOSTS)
def test_another_server_of_that_name_is_never_touched(host: str, desk: Desk) -> None:
    path = settings(desk)[host]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STRANGER[host])

    for verb in ("connect", "repair", "disconnect"):
        told = desk.pyro("host", verb, host)
        assert told.returncode == 4 and "--name" in told.stderr and "secret" not in told.stderr
    assert [one["code"] for one in report(desk, host)["problems"]] == ["other-server"]
    assert path.read_text() == STRANGER[host]
    assert desk.pyro("host", "connect", host, "--name", "pyro-vm").returncode == 0
    assert set(servers(desk, host)) == {"pyro", "pyro-vm"}


DRIFTED = {
    "claude-code": json.dumps({
        "mcpServers": {"pyro": {
            "type": "stdio", "command": "/gone/pyro", "args": ["mcp", "serve", "--mode=inspect"],
            "env": {"MINE": "1"}, "timeout": 5000,
        }}
    }),
    "codex": (
        '[mcp_servers.pyro]\ncommand = "/gone/pyro" # old\nargs = ["mcp", "serve", "--mode=inspect"]\nenabled = false\n'
        'tool_timeout_sec = 600\n\n[mcp_servers.pyro.env]\nMINE = "1"\n'
    ),
    "opencode": json.dumps({
        "mcp": {"pyro": {
            "type": "local", "command": ["/gone/pyro", "mcp", "serve", "--mode=inspect"], "enabled": False,
            "timeout": 5000, "environment": {"MINE": "1"},
        }}
    }),
}  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_doctor_tells_an_entry_that_has_drifted_and_repair_mends_it(host: str, desk: Desk) -> None:
    path = settings(desk)[host]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(DRIFTED[host])

    told = report(desk, host)
    codes = {one["code"] for one in told["problems"]}
    assert told["status"] == "trouble"
    assert codes >= {"other-program", "environment", "program-missing"}
    assert ("disabled" in codes) == (host != "claude-code")
    assert all(f"pyro host repair {host}" in one["hint"] for one in told["problems"]), told["problems"]

    assert json.loads(desk.pyro("host", "repair", host, "--json").stdout)["outcome"] == "replaced"

    entry = servers(desk, host)["pyro"]
    assert command(entry) == [OWN, "mcp", "serve", "--mode=inspect"]
    assert (entry.get("env") or entry.get("environment"))["MINE"] == "1"
    assert entry.get("timeout") == 5000 or entry.get("tool_timeout_sec") == 600
    assert report(desk, host)["status"] == "connected"


@pytest.mark.parametrize("host", HOSTS)
def test_repair_connects_a_host_that_was_not(host: str, desk: Desk) -> None:
    assert report(desk, host)["status"] == "not-connected"

    assert json.loads(desk.pyro("host", "repair", host, "--json").stdout)["outcome"] == "added"

    assert report(desk, host)["status"] == "connected"


def test_doctor_starts_every_server_and_tells_one_that_is_dead(desk: Desk) -> None:
    for host in HOSTS:
        assert desk.pyro("host", "connect", host).returncode == 0
    text = settings(desk)["codex"].read_text()
    settings(desk)["codex"].write_text(text.replace('"serve"', '"serve", "--mode=no-such-mode"'))

    told = desk.pyro("host", "doctor", "--json")

    hosts = {one["host"]: one for one in json.loads(told.stdout)["hosts"]}
    assert told.returncode == 5
    assert [one["code"] for one in hosts["codex"]["problems"]] == ["server-dead"]
    assert "no-such-mode" in hosts["codex"]["problems"][0]["hint"]
    assert hosts["claude-code"]["server"]["tool_count"] == hosts["opencode"]["server"]["tool_count"] > 10


def test_doctor_is_ready_when_one_host_is_connected_and_none_is_in_trouble(desk: Desk) -> None:
    assert desk.pyro("host", "doctor").returncode == 5
    desk.pyro("host", "connect", "opencode")

    told = desk.pyro("host", "doctor")

    assert (told.returncode, told.stdout.splitlines()[-1]) == (0, "ready")


def test_doctor_says_once_how_to_mend_what_has_several_faults(desk: Desk) -> None:
    settings(desk)["codex"].write_text(DRIFTED["codex"])

    told = desk.pyro("host", "doctor").stdout

    assert told.count("pyro host repair codex") == 1, told


def test_a_host_that_is_not_installed_is_told_with_how_to_get_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.pyro("host", "connect", "claude-code")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    assert report(desk, "codex")["status"] == "not-installed"
    assert [one["code"] for one in report(desk, "claude-code")["problems"]] == ["host-missing"]
    told = desk.pyro("host", "connect", "codex")
    assert told.returncode == 5 and "npm install --global @openai/codex" in told.stderr


def test_a_server_that_does_not_start_is_not_written(desk: Desk) -> None:
    told = desk.pyro("host", "connect", "claude-code", "--mode", "no-such-mode")

    assert told.returncode == 6 and "no-such-mode" in told.stderr
    assert not settings(desk)["claude-code"].exists()


@pytest.mark.parametrize("scope", ["local", "project"])
def test_an_entry_of_the_project_that_hides_ours_is_told(scope: str, desk: Desk) -> None:
    (desk.project / ".git").mkdir()
    deep = desk.project / "deep"
    deep.mkdir()
    desk.pyro("host", "connect", "claude-code")
    desk.run("claude", "mcp", "add", "--scope", scope, "pyro", "--", "/bin/cat", cwd=deep)

    assert [one["code"] for one in report(desk, "claude-code", cwd=deep)["problems"]] == ["hidden"]


def test_a_project_that_overrides_the_settings_of_opencode_is_told(desk: Desk) -> None:
    desk.pyro("host", "connect", "opencode")
    (desk.project / "opencode.jsonc").write_text('{"mcp": {"pyro": {"enabled": false}}} // here')

    assert [one["code"] for one in report(desk, "opencode")["problems"]] == ["hidden"]


def test_the_server_uses_the_folders_of_the_command_line(desk: Desk) -> None:
    desk.pyro("host", "connect", "codex")

    variables = servers(desk, "codex")["pyro"]["env"]

    assert variables == {name: os.environ[name] for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}


REFUSED = {
    "a host that nobody knows": (["connect", "emacs"], 2, "claude-code, codex, opencode"),
    "a name that no host takes": (["connect", "codex", "--name", "a b"], 2, "letters, digits"),
    "a folder that is not there": (["connect", "codex", "--project-path", "/no/where"], 2, "is not a folder"),
    "a profile and a mode": (["connect", "codex", "--profile", "vm-run", "--mode", "inspect"], 2, "not allowed with"),
    "a reference of nothing": (["connect", "codex", "--repo-ref", "main"], 2, "--repo-url"),
}


@pytest.mark.parametrize(("words", "code", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(words: list[str], code: int, reason: str, desk: Desk) -> None:
    told = desk.pyro("host", *words)

    assert told.returncode == code
    assert reason in told.stderr
