"""`moot up` and its sisters, with agents that are shell scripts in real tmux sessions and worktrees."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from moot.agents import processes
from moot.agents.place import HostFiles
from moot.agents.state import IDLE, WAITING
from moot.runtimes import Kept
from moot.runtimes.local import LocalRuntime
from moot.team import Team
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound
from tests.moot.launch.conftest import Make
from tests.moot.launch.project import KEY, READY, Project, outcomes, started
from tests.waiting import until


def test_up_starts_each_role_in_its_own_session_and_worktree(project: Project) -> None:
    project.agent_is('pwd >"$RUN/folder"; git branch --show-current >"$RUN/branch"; report idle; exec sleep 1000')

    started(project.team.up())

    assert {one.session for one in project.runtime.tmux.panes()} == {"moot-product", "moot-qa"}
    assert (project.run_folder("qa") / "folder").read_text() == f"{project.tree('qa')}\n"
    assert (project.run_folder("qa") / "branch").read_text() == "qa/work\n"
    assert project.worktrees.find("qa").lock is not None  # type: ignore[union-attr]


def test_up_again_leaves_running_agents_alone_and_replaces_those_that_ended(project: Project) -> None:
    started(project.team.up())
    first = project.runtime.tmux.pane("moot-product")
    project.runtime.tmux.press("moot-qa", "C-c")
    until("qa has ended", lambda: project.runtime.agents()["qa"].alive, lambda alive: not alive)

    assert outcomes(project.team.up()) == {"product": "already_running", "qa": "started"}
    assert project.runtime.tmux.pane("moot-product") == first


def test_an_agent_that_ends_at_once_does_not_stop_the_others(project: Project) -> None:
    project.agent_is("[ $CONVO_ROLE = qa ] && { echo no licence here; exit 3; }; report idle; exec sleep 1000")

    report = project.team.up()

    assert outcomes(report) == {"product": "started", "qa": "failed"} and report.failed
    # tmux 3.3a does not always learn the exit code; where it does, test_a_pane_says_how_its_program_ended sees it.
    assert re.search("its program ended( with exit code 3)?:\nno licence here", report.roles[1].message)


def test_a_missing_program_is_named_before_a_worktree_is_made(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.programs / "claude").unlink()
    for name in ("git", "tmux"):
        (project.programs / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(project.programs))
    report = project.team.up(["qa"]).roles[0]
    assert "claude is not installed" in report.message and "npm install" in report.hint
    assert not project.tree("qa").exists()


def test_what_claude_code_refuses_to_root_is_refused_before_a_worktree_is_made(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IS_SANDBOX")
    roles = {"product": {}, "spec": {"harness": "codex"}, "qa": {"env": {"IS_SANDBOX": "1"}}}
    project = make(roles=roles, permission_mode="bypassPermissions")
    project.agent_is(READY, "codex")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user")
    monkeypatch.setattr(LocalRuntime, "is_root", lambda _: True)

    report = project.team.up()

    assert outcomes(report) == {"product": "failed", "spec": "started", "qa": "started"}
    assert "bypassPermissions when root runs it" in report.roles[0].message
    assert all(words in report.roles[0].hint for words in ("permission_mode", '"bottle"', "ordinary user"))
    assert not project.tree("product").exists()
    monkeypatch.setattr(LocalRuntime, "is_root", lambda _: False)
    assert outcomes(project.team.up(["product"])) == {"product": "started"}


def test_an_unknown_role_is_refused_before_anything_starts(project: Project) -> None:
    with pytest.raises(NotFound, match=r"unknown role 'qq'\. Available: product, qa"):
        project.team.up(["product", "qq"])
    with pytest.raises(InvalidRequest, match="names no role"):
        project.team.up([" "])
    assert not (project.folder / ".worktrees").exists() and project.runtime.agents() == {}


def test_a_harness_that_cannot_be_launched_is_refused_before_its_worktree_and_the_others_start(make: Make) -> None:
    project = make(roles={"product": {}, "librarian": {"harness": "cursor"}})

    assert outcomes(project.team.up()) == {"product": "started", "librarian": "failed"}
    assert not project.tree("librarian").exists()


def test_a_role_without_a_key_or_with_a_missing_secret_fails_alone(make: Make) -> None:
    project = make(roles={"product": {}, "qa": {"env": {"TOKEN": "${secret:nope}"}}, "spec": {}})
    path = project.folder / ".moot/actors.json"
    found = json.loads(path.read_text())
    del found["actors"]["spec"]
    path.write_text(json.dumps(found))

    report = project.team.up()

    assert outcomes(report) == {"product": "started", "qa": "failed", "spec": "failed"}
    assert "nope" in report.roles[1].message and "moot init" in report.roles[2].hint


def test_no_key_or_secret_is_on_a_command_line_or_in_tmux(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text("s3cr3t-value\n")
    monkeypatch.setenv("MOOT_SECRETS_DIR", str(tmp_path / "secrets"))
    project = make(roles={"qa": {"env": {"TOKEN": "${secret:token}"}}})
    project.agent_is('printf "%s %s" "$TOKEN" "$ANTHROPIC_API_KEY" >"$RUN/seen"; report idle; exec sleep 1000')

    started(project.team.up())

    assert (project.run_folder("qa") / "seen").read_text() == "s3cr3t-value sk-of-the-user"
    tmux = project.runtime.tmux
    pane = tmux.pane("moot-qa")
    assert pane is not None
    server = tmux.ask("display-message", "-p", "#{pid}").strip()
    shown = tmux.ask("show-environment", "-g") + tmux.ask("show-environment", "-t", "=moot-qa")
    environ = Path("/proc", server, "environ").read_text()
    lines = "".join(one.read_text() for one in Path("/proc").glob("[0-9]*/cmdline") if _readable(one))
    for secret in ("s3cr3t-value", "sk-of-the-user", f"{KEY}qa"):
        assert secret not in shown + environ + lines
    assert "CONVO_API_KEY" not in Path("/proc", str(pane.pid), "environ").read_text()


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_down_ends_everything_and_keeps_the_work(project: Project) -> None:
    project.agent_is("setsid sleep 1000 & report idle; exec sleep 1000")
    started(project.team.up())
    (project.tree("qa") / "notes").write_text("work\n")

    report = project.team.down()

    assert outcomes(report) == {"product": "stopped", "qa": "stopped"}
    assert report.kept[1:] == [Kept("worktree", str(project.tree("qa")), "qa/work")]
    assert project.left() == {} and (project.tree("qa") / "notes").exists()
    assert outcomes(project.team.down()) == {"product": "not_running", "qa": "not_running"}


def test_down_of_one_role_leaves_the_others(project: Project) -> None:
    started(project.team.up())
    assert outcomes(project.team.down("qa")) == {"qa": "stopped"}
    assert list(project.runtime.agents()) == ["product"]
    assert outcomes(project.team.down("nobody")) == {"nobody": "not_running"}


def test_down_ends_an_agent_that_ignores_signals(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GENTLE_SECONDS", 0.2)
    project.agent_is("trap '' HUP TERM INT; report idle; while :; do sleep 1000; done")
    started(project.team.up(["qa"]))
    project.team.down()
    assert project.left() == {}


def test_status_shows_first_what_waits_for_a_person(make: Make) -> None:
    project = make(roles=("product", "qa", "spec", "lead"))
    project.agent_is(
        """
        case $CONVO_ROLE in
            product) report waiting ;;
            qa) report idle; exit 7 ;;
            *) report idle ;;
        esac
        exec sleep 1000"""
    )
    project.team.up(["product", "qa", "spec"])
    until("qa has ended", lambda: project.runtime.agents()["qa"].exit_code, lambda code: code == 7)

    found = project.team.status()

    assert [(one.what, one.role) for one in found.waiting][:2] == [("permission", "product"), ("dead", "qa")]
    states = {one.role: one.state for one in found.roles}
    assert states == {"product": WAITING, "qa": "dead", "spec": IDLE, "lead": "not_started"}
    assert "127.0.0.1:9" in found.server_problem and "moot serve" in found.server_hint


def test_exec_starts_one_role_with_its_own_prompt(project: Project) -> None:
    project.agent_is('for word; do last=$word; done; printf %s "$last" >"$RUN/prompt"; report idle; exec sleep 1000')
    prompt = "Say 'hi'; $(touch pwned) `x` \\ \"q\" #{pid} ;"
    assert outcomes(project.team.exec("qa", prompt=prompt)) == {"qa": "started"}
    assert (project.run_folder("qa") / "prompt").read_text() == prompt
    with pytest.raises(Conflict, match="runs already"):
        project.team.exec("qa", prompt="again")
    with pytest.raises(NotFound, match="unknown role"):
        project.team.exec("nobody")


def test_an_agent_without_a_login_waits_for_the_person_in_the_terminal_of_the_human_interface(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    project = make(roles=("qa", "product"))
    # The human interface's agent logs in by itself as soon as it is started; no other may run before.
    project.agent_is(
        """
        tmux -V >/dev/null; ls "$RUN/.." >"$RUN/others"
        [ $CONVO_ROLE = product ] && { ls "$HOME/.claude" >"$RUN/before" 2>&1; mkdir -p "$HOME/.claude"
            printf '{"claudeAiOauth": {"accessToken": "x"}}' >"$HOME/.claude/.credentials.json"; }
        [ -e "$HOME/.claude/.credentials.json" ] && report idle
        exec sleep 1000"""
    )
    with pytest.raises(NotFound):
        project.team.exec("nobody")
    assert outcomes(project.team.exec("qa")) == {"qa": "failed"}
    assert outcomes(project.team.up(["qa"])) == {"qa": "failed"}

    assert outcomes(project.team.up()) == {"qa": "started", "product": "started"}


@pytest.mark.parametrize("link", [".moot/run/qa/settings.json", ".moot/run/qa", ".moot/run/qa.lock", ".moot/runtime"])
def test_a_link_or_a_committed_file_in_the_folder_of_moot_is_refused(
    project: Project, tmp_path: Path, link: str
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    path = project.folder / link
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.symlink_to(mine)

    with pytest.raises(Conflict, match="is a symbolic link"):
        project.team.up(["qa"])
    project.git("add", "--force", link)
    with pytest.raises(Conflict, match="git tracks"):
        project.team.up(["qa"])

    assert mine.read_text() == "mine" and not project.tree("qa").exists()
    project.git("rm", "--quiet", "--force", "--cached", link)
    path.unlink()


def test_the_settings_of_an_agent_replace_a_link_and_those_of_the_user_follow_it(tmp_path: Path) -> None:
    for folder, expected in ((".moot/run/qa", "mine"), ("home", "ours")):
        mine, link = tmp_path / "mine", tmp_path / folder / "settings.json"
        mine.write_text("mine")
        link.parent.mkdir(parents=True)
        link.symlink_to(mine)
        HostFiles().write(str(link), "ours")
        assert (link.read_text(), mine.read_text()) == ("ours", expected)


def test_files_that_nobody_has_committed_are_said_until_the_worktrees_have_them(make: Make) -> None:
    project = make(roles=("qa",))
    started(project.team.up())
    (project.folder / ".claude").mkdir()
    for name in ("CLAUDE.md", ".claude/settings.json"):
        (project.folder / name).write_text("{}")
    heard: list[str] = []
    team = Team.of_folder(project.folder, say=heard.append)

    assert [one.what for one in team.status().waiting] == ["files"]
    team.down()
    team.up()
    assert "the worktree of qa has no CLAUDE.md and no .claude/settings.json" in heard[0]
    project.git("add", ".")
    project.git("commit", "--quiet", "--message=instructions")
    merge = heard[0].splitlines()[-1].split()
    assert merge == ["git", "-C", str(project.tree("qa")), "merge", "main"]
    subprocess.run(merge, check=True, capture_output=True, timeout=60)

    assert (project.tree("qa") / "CLAUDE.md").is_file() and team.status().waiting == []
    team.down()
    team.up()
    assert len(heard) == 1
