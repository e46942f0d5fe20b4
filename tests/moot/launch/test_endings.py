"""Whatever happens to `moot up`, the next command finds what it left, and `moot down` leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moot.agents.processes import agent_processes
from moot.team import Team
from pyro_mcp.errors import Conflict
from tests.moot.launch.conftest import Make
from tests.moot.launch.project import Project, outcomes, started
from tests.waiting import until

_COMMAND = [sys.executable, "-m", "moot"]


def test_up_and_down_twenty_times_leave_nothing(project: Project) -> None:
    project.agent_is("setsid sleep 1000 & report idle; exec sleep 1000")
    for _ in range(20):
        started(project.team.up())
        assert outcomes(project.team.down()) == {"product": "stopped", "qa": "stopped"}
        assert project.left() == {}
    assert [one.branch for one in project.worktrees.listed()] == ["main", "product/work", "qa/work"]


KILLER = """#!/bin/sh
number=$(( $(cat {counter} 2>/dev/null || echo 0) + 1 ))
echo $number >{counter}
[ $number = "$(cat {counter}-kill 2>/dev/null)" ] && kill -KILL $PPID
exec /usr/bin/{name} "$@"
"""


def test_up_that_is_killed_at_any_step_is_repaired_by_the_next_up_and_down(make: Make) -> None:
    # Each step of 'moot up' that changes something is a call of git or tmux; a wrapper kills it at the n-th call.
    project = make(roles=("qa",))
    counter, kill_at = project.programs / "counter", project.programs / "counter-kill"
    for name in ("git", "tmux"):
        path = project.programs / name
        path.write_text(KILLER.format(name=name, counter=counter))
        path.chmod(0o755)
    killed = 0
    for step in range(1, 100):
        counter.unlink(missing_ok=True)
        kill_at.write_text(str(step))
        done = subprocess.run([*_COMMAND, "up"], cwd=project.folder, timeout=60, capture_output=True, check=False)
        kill_at.unlink()
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
        if step % 2:
            assert outcomes(project.team.up())["qa"] in ("started", "already_running")
        project.team.down()
        assert project.left() == {}, step
    assert killed >= 8


def test_a_session_that_a_killed_up_is_about_to_make_is_not_left(make: Make) -> None:
    project = make(roles=("qa",))
    path = project.programs / "tmux"
    path.write_text(
        '#!/bin/sh\ncase "$*" in *new-session*) kill -KILL $PPID; sleep 0.5 ;; esac\nexec /usr/bin/tmux "$@"\n'
    )
    path.chmod(0o755)
    done = subprocess.run([*_COMMAND, "up"], cwd=project.folder, timeout=60, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert outcomes(project.team.down()) == {"qa": "stopped"}
    assert project.left() == {}


def test_a_killed_tmux_server_leaves_no_agent_and_no_lock(project: Project) -> None:
    started(project.team.up())
    server = int(project.runtime.tmux.ask("display-message", "-p", "#{pid}"))
    os.kill(server, signal.SIGKILL)
    until("the server has ended", project.runtime.tmux.panes, lambda panes: panes == [])
    assert project.runtime.agents() == {}
    project.team.down()
    assert project.left() == {}


def test_down_ends_a_team_whose_file_is_not_valid_any_more(make: Make) -> None:
    project = make(roles=("runtime",))  # a role's name is not taken by a file of ours
    started(project.team.up())
    (project.folder / "moot.toml").write_text("broken")
    done = subprocess.run([*_COMMAND, "down"], cwd=project.folder, timeout=60, capture_output=True, check=True)
    assert b"runtime: stopped" in done.stdout and b"moot.toml" in done.stderr
    assert project.left() == {}


def test_agents_are_seen_and_ended_in_the_runtime_where_they_were_started(make: Make) -> None:
    project = make(roles=("qa",))
    project.agent_is("exit 0", "docker")  # lists no container
    started(project.team.up())
    file = project.folder / "moot.toml"
    file.write_text(file.read_text().replace("[harness]", '[harness]\nruntime = "devcontainer"'))

    heard: list[str] = []
    team = Team.of_folder(project.folder, say=heard.append)
    assert [one.state for one in team.status().roles] == ["idle"]
    assert heard == ["These agents were started with the runtime local; moot.toml names devcontainer now."]
    with pytest.raises(Conflict, match="agents run with the runtime local"):
        team.up()

    assert outcomes(Team.to_end(project.folder).down()) == {"qa": "stopped"}
    assert project.left() == {}
    assert Team.of_folder(project.folder, say=heard.append).status().roles[0].state == "not_started"
    assert len(heard) == 1


def test_two_projects_do_not_touch_each_other(make: Make) -> None:
    one, two = make("one"), make("two with spaces; #(touch pwned) $HOME 'q'")
    assert outcomes(one.team.up()) == outcomes(two.team.up()) == {"product": "started", "qa": "started"}
    one.team.down()
    assert one.left() == {} and list(two.runtime.agents()) == ["product", "qa"]
    assert len(agent_processes(str(two.tree("qa")))) >= 1
    assert "pwned" not in os.listdir(two.folder) + os.listdir(two.tree("qa"))


def test_a_team_is_found_from_the_worktree_of_an_agent(project: Project) -> None:
    started(project.team.up(["qa"]))
    done = subprocess.run(
        [*_COMMAND, "--json", "status"], cwd=project.tree("qa"), timeout=60, capture_output=True, check=True
    )
    assert b'"state": "idle"' in done.stdout
    assert not (project.tree("qa") / ".moot").exists()


def test_an_agent_that_runs_moot_down_ends_the_others_and_itself(project: Project) -> None:
    moot = f"cd {project.folder} && {sys.executable} -m moot down"
    project.agent_is(f"[ $CONVO_ROLE = qa ] && {{ report idle; {moot}; }}; report idle; exec sleep 1000")
    started(project.team.up(["product"]))
    project.team.up(["qa"])
    until("both have ended", project.runtime.agents, lambda agents: agents == {})


def test_the_command_line_prints_failures_on_standard_error(project: Project, tmp_path: Path) -> None:
    def run(*words: str, cwd: Path = project.folder) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*_COMMAND, *words], cwd=cwd, timeout=60, capture_output=True, text=True, check=False)

    done = run("up", "--only", "qq")
    assert (done.returncode, done.stdout) == (3, "") and "unknown role 'qq'. Available: product, qa" in done.stderr
    assert run("up", "--only", "qa, product").returncode == 0
    assert "qa: already running" in run("up").stdout
    assert [one["outcome"] for one in json.loads(run("--json", "up").stdout)["roles"]] == ["already_running"] * 2
    found = json.loads(run("--json", "detach", "qa").stdout)
    assert (found["terminals"], found["roles"][0]["outcome"], found["roles"][0]["message"]) == (0, "detached", "")
    project.agent_is("exit 1")
    assert run("down", "qa").stdout == "qa: stopped\n"
    done = run("exec", "qa")
    assert done.returncode == 1 and "qa: failed: its program ended" in done.stderr
    done = run("attach", "product")
    assert done.returncode == 2 and "needs a terminal" in done.stderr
    done = run("down")
    assert done.returncode == 0 and f"{project.tree('qa')} (branch qa/work)" in done.stdout
    assert "not started" in run("status").stdout
    assert [one["state"] for one in json.loads(run("--json", "status").stdout)["roles"]] == ["not_started"] * 2
    kept = {"what": "worktree", "where": str(project.tree("qa")), "branch": "qa/work"}
    assert kept in json.loads(run("--json", "down").stdout)["kept"]
    done = run("status", cwd=tmp_path)
    assert done.returncode == 3 and "no moot.toml" in done.stderr and "Traceback" not in done.stderr
