"""What keeps bottles from running in containers, with what to do; none of it raises."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.backend.docker import problems
from claude_bottle.backend.docker.launcher import RUNTIME, DockerBackend
from tests.bottles.docker.conftest import Shelf


def problem() -> str:
    return "\n".join(DockerBackend().problems())


def test_a_host_with_an_engine_has_no_problem(shelf: Shelf) -> None:
    assert shelf.backend.problems() == []


def test_a_runtime_that_the_daemon_does_not_have_is_named(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNTIME, "runsc")
    assert "no runtime 'runsc'" in problem() and "/etc/docker/daemon.json" in problem()
    assert shelf.backend.problems() != []


def test_a_host_without_docker_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pyro_mcp.host.programs.SYSTEM_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "docker is not installed; install it with: sudo apt-get install docker.io" in problem()


def a_docker_that_says(folder: Path, said: str) -> None:
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    program.chmod(0o755)


def test_a_daemon_that_does_not_run_is_to_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_docker_that_says(tmp_path, "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert "start it: sudo systemctl start docker" in problem()
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    assert "DOCKER_HOST is unix:///nowhere: correct or unset it" in problem()


def test_a_user_without_rights_is_told_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_docker_that_says(tmp_path, "Got permission denied while trying to connect to the Docker daemon socket")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "sudo usermod -aG docker $USER" in problem() and "needs root" in problem()


def test_a_daemon_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(problems, "_ANSWER_SECONDS", 0.3)
    assert "does not answer within 0.3 s" in problem()
