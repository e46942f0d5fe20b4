"""The wrappers of the devcontainer find the key of a role from any worktree, and run nothing that a name says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.style.project import ROOT

BUNDLE = ROOT / "src/moot/templates/devcontainer"
WRAPPERS = {
    "run-moot-mcp.sh": "mcp_runner",
    "run-moot-channel.sh": "channel_runner",
    "run-moot-notify.sh": "notify_runner",
}
ROLE = "spec"
SHOWN = ("CONVO_API_KEY", "CONVO_AGENT_ID", "CONVO_AGENT_NAME", "CONVO_API_URL", "CONVO_SPACE_ID", "MOOT_LOG_LEVEL")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with keys, a committed moot.toml and the worktree of a role; its Python shows what it is given."""
    main = tmp_path / 'it\'s a "project" $(touch pwned)'
    main.mkdir()
    (main / "moot.toml").write_text('[convo]\napi_url = "http://127.0.0.1:9"\nspace_id = "spc_1"\n')
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for words in (
        ["init", "-q"],
        ["add", "moot.toml"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"],
        ["worktree", "add", "-q", ".worktrees/spec", "-b", "spec/work"],
    ):
        subprocess.run(["git", "-C", main, *words], env=environ, check=True, timeout=30)
    (main / ".moot").mkdir(mode=0o700)
    actor = {"actor_id": "agt_1", "api_key": "convo_key_1", "display_name": 'Spec "S" $(touch pwned)'}
    (main / ".moot/actors.json").write_text(json.dumps({"actors": {ROLE: actor}}))
    package = tmp_path / "python/moot/adapters"
    package.mkdir(parents=True)
    for name in WRAPPERS.values():
        text = (
            f"import json, os, sys\nprint(json.dumps([{name!r}, sys.argv[1:], sys.stdin.read(), dict(os.environ)]))\n"
        )
        (package / f"{name}.py").write_text(text + "print('to the log', file=sys.stderr)\n")
    return main


def run(wrapper: str, project: Path, cwd: Path, *words: str, role: str | None = ROLE) -> tuple[str, dict[str, str]]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(project.parent), "PYTHONPATH": str(project.parent / "python")}
    ended = subprocess.run(
        [BUNDLE / wrapper, *words],
        cwd=cwd,
        env=environ | ({} if role is None else {"CONVO_ROLE": role}),
        input="for the server",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    module, argv, given, found = json.loads(ended.stdout)
    assert (argv, given) == (list(words), "for the server")
    return module, found


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_finds_the_key_from_the_worktree_of_a_role(project: Path, wrapper: str) -> None:
    for folder in (project, project / ".worktrees/spec"):
        module, found = run(wrapper, project, folder, "--port", "1")
        assert module == WRAPPERS[wrapper]
        assert [found.get(name) for name in SHOWN] == [
            *("convo_key_1", "agt_1", 'Spec "S" $(touch pwned)', "http://127.0.0.1:9", "spc_1", "DEBUG")
        ]
    logs = project / ".moot/logs"
    assert "to the log" in next(logs.glob("*-spec.stderr.log")).read_text()
    assert not (project / ".worktrees/spec/.moot").exists()
    assert not list(project.parent.rglob("pwned"))


def test_a_project_below_the_top_of_its_repository_has_its_own_keys_and_logs(project: Path) -> None:
    inner = project / "services/shop"
    tree = project / ".worktrees/spec/services/shop"
    for folder in (inner, tree):
        folder.mkdir(parents=True)
        (folder / "moot.toml").write_text((project / "moot.toml").read_text())
    (project / "moot.toml").unlink()
    (project / ".moot").rename(inner / ".moot")
    for folder in (inner, tree):
        _, found = run("run-moot-mcp.sh", project, folder)
        assert (found["CONVO_API_KEY"], found["CONVO_SPACE_ID"]) == ("convo_key_1", "spc_1")
    assert (inner / ".moot/logs/mcp-spec.stderr.log").is_file()
    assert not (project / ".moot").exists() and not (tree / ".moot").exists()


@pytest.mark.parametrize("role", ["x'; touch pwned; '", "$(touch pwned)", "../../etc", 'a"\nimport os', "nobody"])
def test_a_role_is_never_a_part_of_a_script(project: Path, role: str) -> None:
    _, found = run("run-moot-mcp.sh", project, project / ".worktrees/spec", role=role)
    assert "CONVO_API_KEY" not in found
    assert found["CONVO_ROLE"] == role
    assert not list(project.parent.rglob("pwned"))


def test_a_log_that_has_grown_large_begins_anew(project: Path) -> None:
    (project / ".moot/logs").mkdir()
    log = project / ".moot/logs/mcp-spec.stderr.log"
    log.write_bytes(b"x" * 5_242_881)
    run("run-moot-mcp.sh", project, project)
    assert log.read_text() == "to the log\n"
    assert log.with_name(f"{log.name}.1").stat().st_size == 5_242_881


def test_the_container_is_made_by_a_user_without_root() -> None:
    found = json.loads((BUNDLE / "devcontainer.json").read_text())
    assert (found["name"], found["remoteUser"]) == ("moot-agent-team", "node")
    steps = (BUNDLE / "post-create.sh").read_text()
    assert steps.index("claude mcp add convo-channel") < steps.index("claude install")
    assert sorted(path.name for path in BUNDLE.iterdir()) == sorted(["devcontainer.json", "post-create.sh", *WRAPPERS])
