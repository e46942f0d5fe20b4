"""What the user chooses at connect: the network, the form of results, leave to use our tools; and what it replaces."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chat_hosts.conftest import OLDER, PROGRAMS, Desk
from tests.chat_hosts.settings import HOSTS, LISTED, OWN, command, servers, settings


@pytest.mark.parametrize("version", [OLDER, PROGRAMS], ids=["older", "newest"])
def test_connecting_claude_code_again_keeps_an_entry_whatever_its_version(
    version: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(version), prepend=":")
    assert desk.pyro("host", "connect", "claude-code").returncode == 0

    told = desk.pyro("host", "connect", "claude-code", "--mode", "repro-fix")

    assert (told.returncode, told.stderr) == (0, "")
    assert "--mode=repro-fix" in command(servers(desk, "claude-code")["pyro"])
    listed = desk.run(*LISTED["claude-code"][0], cwd=desk.home)
    assert re.search(LISTED["claude-code"][1], listed.stdout), listed.stdout + listed.stderr


def test_settings_that_claude_code_keeps_locked_are_not_written(desk: Desk) -> None:
    assert desk.pyro("host", "connect", "claude-code").returncode == 0
    before = settings(desk)["claude-code"].read_bytes()
    lock = settings(desk)["claude-code"].with_name(".claude.json.lock")
    lock.mkdir()
    with holding(lock):
        told = desk.pyro("host", "connect", "claude-code", "--mode", "inspect")
    assert told.returncode == 4 and str(lock) in told.stderr
    assert settings(desk)["claude-code"].read_bytes() == before

    os.utime(lock, (0, 0))  # whoever held it has died
    assert desk.pyro("host", "connect", "claude-code", "--mode", "inspect").returncode == 0
    assert not lock.exists()


@contextmanager
def holding(lock: Path) -> Iterator[None]:
    """Touch a lock as its holder does, as long as the block runs."""
    over = threading.Event()

    def touch() -> None:
        while not over.wait(1):
            os.utime(lock)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


@pytest.mark.parametrize("host", HOSTS)
def test_the_network_and_the_form_of_results_that_the_user_chose_go_to_the_server(host: str, desk: Desk) -> None:
    chosen = ["--network-policy", "egress", "--allow-host", "pypi.org", "--allow-host", "*.pythonhosted.org"]

    assert desk.pyro("host", "connect", host, *chosen, "--results", "both").returncode == 0

    assert command(servers(desk, host)["pyro"])[3:] == [
        "--results=both", "--network-policy=egress", "--allow-host=pypi.org", "--allow-host=*.pythonhosted.org",
    ]  # fmt: skip


RULES = {
    "claude-code": ("claude/settings.json", '{"permissions": {"allow": ["Read"]}, "model": "x"}\n'),
    "codex": ("codex/config.toml", "[tui]\nnotifications = true\n"),
    "opencode": (".config/opencode/opencode.json", '{"permission": {"*": "ask"}, // mine\n "theme": "x"}\n'),
}


@pytest.mark.parametrize("host", HOSTS)
def test_leave_to_use_our_tools_is_given_only_when_asked_for_and_taken_back(host: str, desk: Desk) -> None:
    path = desk.home / RULES[host][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(RULES[host][1])

    asks = desk.pyro("host", "connect", host)
    with_leave = json.loads(desk.pyro("host", "connect", host, "--allow", "--json").stdout)
    again = json.loads(desk.pyro("host", "connect", host, "--json").stdout)

    assert f"'pyro host connect {host} --allow'" in asks.stdout
    assert (with_leave["allowed"], again["allowed"], again["outcome"]) == (True, True, "unchanged")
    assert re.search(r'"Read", "mcp__pyro"|_mode = "approve"|"pyro_\*": "allow"', path.read_text()), path.read_text()
    assert desk.pyro("host", "disconnect", host).returncode == 0
    assert path.read_text().strip() == RULES[host][1].strip()


@pytest.mark.parametrize(("answer", "policy"), [("y", "egress"), ("", "off")])
def test_on_a_terminal_the_user_is_asked_for_the_network(answer: str, policy: str, desk: Desk) -> None:
    with terminal() as (ours, its):
        os.write(ours, f"{answer}\n".encode())
        argv = desk.net.argv([OWN, "host", "connect", "opencode"])
        done = subprocess.run(
            argv, cwd=desk.project, stdin=its, stderr=its, stdout=subprocess.PIPE, timeout=60, check=True
        )

    assert b"connected" in done.stdout
    assert command(servers(desk, "opencode")["pyro"])[-1] == f"--network-policy={policy}"


def test_on_a_terminal_allowed_hosts_answer_the_question_for_the_network(desk: Desk) -> None:
    with terminal() as (ours, its):
        os.write(ours, b"n\n")  # would be the answer to a question
        argv = desk.net.argv([OWN, "host", "connect", "opencode", "--allow-host", "pypi.org"])
        subprocess.run(argv, cwd=desk.project, stdin=its, stderr=its, timeout=60, check=True)
        written = os.read(ours, 65536)

    assert b"[y/N]" not in written
    assert command(servers(desk, "opencode")["pyro"])[-2:] == ["--network-policy=egress", "--allow-host=pypi.org"]


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal."""
    ours, its = pty.openpty()
    try:
        yield ours, its
    finally:
        os.close(ours)
        os.close(its)


def test_one_permission_for_all_tools_of_opencode_is_left_alone(desk: Desk) -> None:
    path = settings(desk)["opencode"]
    path.parent.mkdir(parents=True)
    path.write_text('{"permission": "ask"}')

    told = desk.pyro("host", "connect", "opencode", "--allow")

    assert told.returncode == 2 and '"pyro_*": "allow"' in told.stderr
    assert path.read_text() == '{"permission": "ask"}'
