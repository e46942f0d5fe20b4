"""Agents in a devcontainer: the real devcontainer CLI, on a Docker Engine that these tests start.

The image has only folders; the system, this package and its Python are bound from this host, so nothing is fetched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.docker_engine import NoEngine, started_engine
from moot.runtimes import AgentProcess, AgentStart, Kept
from moot.runtimes.devcontainer import DevcontainerRuntime
from pyro_mcp.errors import HostNotReady, HostToolMissing
from tests.moot.launch.project import Project, make_project

ROOT = Path(__file__).parents[3]
CLI = ROOT / "build/hosts/devcontainer"
_IMAGE = "moot-devcontainer-test"
_FOLDERS = ("usr", "etc", "tmp", "proc", "dev", "sys", "root", "run", "workspaces")


def _import_image(folder: Path) -> None:
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / name).symlink_to(f"usr/{name}")
    (folder / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    tar = subprocess.run(["tar", "-C", folder, "-c", "."], check=True, capture_output=True, timeout=60)
    subprocess.run(["docker", "import", "-", _IMAGE], input=tar.stdout, check=True, capture_output=True, timeout=60)


def _devcontainer_json() -> str:
    bound = ["/usr", str(ROOT), sys.base_prefix] if sys.base_prefix != "/usr" else ["/usr", str(ROOT)]
    return json.dumps(
        {
            "image": _IMAGE,
            "remoteUser": "root",
            "updateRemoteUserUID": False,
            "runArgs": ["--network=none"],
            "mounts": [f"source={one},target={one},type=bind,readonly" for one in bound],
            "containerEnv": {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"},
        }
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project with a devcontainer, which is removed afterwards."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the CLI keeps files there
    monkeypatch.setenv("PATH", f"{CLI}:{os.environ['PATH']}")
    try:
        with started_engine(in_memory=True) as address:
            monkeypatch.setenv("DOCKER_HOST", address)
            _import_image(tmp_path / "image")
            made = make_project(tmp_path / "project", {"qa": {}}, runtime="devcontainer")
            (made.folder / ".devcontainer").mkdir()
            (made.folder / ".devcontainer/devcontainer.json").write_text(_devcontainer_json())
            yield made
            listed = subprocess.run(["docker", "ps", "-aq"], check=True, capture_output=True, timeout=60)
            if found := listed.stdout.decode().split():
                subprocess.run(["docker", "rm", "-f", *found], check=True, capture_output=True, timeout=60)
    except NoEngine as error:
        pytest.skip(str(error))


def test_an_agent_runs_in_the_devcontainer_and_ends_without_a_trace(project: Project) -> None:
    assert DevcontainerRuntime(project.folder).agents() == {}
    said: list[str] = []
    runtime = DevcontainerRuntime(project.folder)
    runtime.prepare(said.append)
    assert "Building devcontainer" in said[0] and runtime.seen == "/workspaces/project"

    place = runtime.make_place("qa")
    runtime.files.write(f"{place.home}/.config/a b", "text\n")
    assert runtime.files.read(f"{place.home}/.config/a b") == "text\n" and runtime.files.read("/none") is None
    lock = f"{place.home}/.config/lock"
    assert [runtime.files.make_lock(lock, 10) for _ in range(2)] == [True, False]
    runtime.files.remove_lock(lock)
    assert runtime.files.make_lock(lock, 10)
    own = {"CONVO_WORKTREE": place.tree, "TOKEN": "s3cr3t"}
    script = 'echo "$TOKEN"; pwd; setsid sleep 1000 & sleep 1000'
    runtime.start(AgentStart(role="qa", argv=("sh", "-c", script), environment=own, colour="red"))
    with runtime.watch("qa") as watch:
        end = time.monotonic() + 60
        while place.tree not in runtime.screen("qa"):
            assert time.monotonic() < end, runtime.screen("qa")
            watch.wait(1)
    assert "s3cr3t" in runtime.screen("qa") and not list(project.run_folder("qa").glob("*.start"))
    assert DevcontainerRuntime(project.folder).agents() == {"qa": AgentProcess("qa", True)}

    assert DevcontainerRuntime(project.folder).stop("qa")
    kept = runtime.close([])
    assert kept[0] == Kept("worktree", "/workspaces/project/.worktrees/qa", "qa/work") and kept[1].what == "container"
    listed = subprocess.run(
        runtime.commands.argv(["ps", "-eo", "args"]), check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert "tmux" not in listed and "sleep 1000" not in listed
    assert not runtime.stop("qa")


def test_what_is_missing_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.folder / ".devcontainer/devcontainer.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "containerEnv": {"PATH": "/usr/bin:/bin"}}))
    with pytest.raises(HostNotReady, match="cannot import moot"):
        DevcontainerRuntime(project.folder).prepare(lambda _: None)
    docker = shutil.which("docker")
    assert docker is not None
    (project.programs / "docker").symlink_to(docker)
    (project.programs / "git").symlink_to("/usr/bin/git")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(project.programs))
        with pytest.raises(HostToolMissing, match="devcontainer is not installed") as error:
            DevcontainerRuntime(project.folder).prepare(lambda _: None)
    assert "npm i -g @devcontainers/cli" in error.value.hint
