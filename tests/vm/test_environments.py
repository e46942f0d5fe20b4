"""Environments that are saved from workspaces or built from Dockerfiles, on real machines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import Conflict, EnvironmentFailed, InvalidRequest, NotFound
from tests.network.tls_site import HOST

VALUE = "ghp_w6q3XoT1rB/9=sN0zKd7"
SECRETS = [{"name": "TOKEN", "value": VALUE}, {"name": "API", "value": "api-value-123456", "host": HOST}]
_INSTALL = """
set -e
printf '#!/bin/sh\\necho installed\\n' > /usr/local/bin/mytool
chmod 755 /usr/local/bin/mytool
chown 12:34 /usr/local/bin/mytool
rm -r /usr/share/git-core
echo precious > /workspace/notes
echo scratch > /tmp/scratch
"""
_LOOK = """
mytool
stat -c %u:%g /usr/local/bin/mytool
ls /usr/share/git-core /workspace/notes /tmp/scratch /etc/pyro-mcp /usr/local/share/ca-certificates/* 2>&1 | wc -l
grep -c BEGIN /etc/ssl/certs/ca-certificates.crt
cat /etc/resolv.conf
"""


@pytest.fixture
def ready(pyro: Pyro) -> Iterator[Pyro]:
    """The SDK; workspaces and environments of this test are deleted afterwards."""
    yield pyro
    for one in pyro.list_workspaces()["workspaces"]:
        pyro.delete_workspace(one["workspace_id"])


def cli(*words: str) -> str:
    """Run `pyro` as a user does, and return its output."""
    command = [sys.executable, "-m", "pyro_mcp.cli", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def test_a_saved_system_has_what_was_installed_and_nothing_of_the_workspace_itself(ready: Pyro) -> None:
    id_ = ready.create_workspace("debian:12", secrets=SECRETS, network_policy="egress")["workspace_id"]
    assert ready.exec_workspace(id_, command=_INSTALL)["exit_code"] == 0
    trusted = ready.exec_workspace(id_, command="grep -c BEGIN /etc/ssl/certs/ca-certificates.crt")["stdout"]

    ready.exec_workspace(id_, command="printf 'token = %s' $TOKEN > /etc/tool.conf", secret_env=["TOKEN"])
    with pytest.raises(Conflict, match=r"/etc/tool\.conf") as refused:
        ready.save_environment("grown:1", workspace_id=id_)
    assert VALUE not in str(refused.value)
    assert [one["name"] for one in ready.list_environments()["environments"]][-1] == "debian:12-build"

    ready.exec_workspace(id_, command="rm /etc/tool.conf")
    ready.stop_workspace(id_)
    made = json.loads(cli("env", "save", "grown:1", "--from", id_, "--json"))
    parent = ready.inspect_environment("debian:12")
    assert made["origin"]["parent_digest"] == parent["digest"] != made["digest"]
    assert ready.start_workspace(id_)["state"] == "running"

    ran = ready.run_in_vm("grown:1", command=_LOOK, timeout_seconds=120)
    assert ran["stdout"].splitlines() == ["installed", "12:34", "5", str(int(trusted) - 1)]

    other = ready.create_workspace("grown:1")["workspace_id"]
    with pytest.raises(Conflict, match=other):
        ready.delete_environment("grown:1")
    ready.delete_workspace(other)
    assert "is deleted" in cli("env", "delete", "grown:1")
    with pytest.raises(InvalidRequest):
        ready.run_in_vm("grown:1", command="true")


_DOCKERFILE = """
ARG BASE=nothing
FROM ${BASE} AS build
WORKDIR /src
RUN echo built > tool && ln -s tool link
FROM debian:12
ARG VERSION=1
ENV APP=/app GREETING="hello world"
WORKDIR $APP
COPY app .
COPY --from=build --chmod=755 /src ./bin
COPY --chown=nobody:nogroup app/main.py /srv/other.py
ADD more.tar.gz /srv/more/
COPY <<EOF /etc/app.conf
version=$VERSION
EOF
RUN <<EOF
set -e
python3 main.py > said
useradd --create-home joe
EOF
USER joe
RUN touch ~/mine
CMD ["python3", "main.py"]
HEALTHCHECK CMD true
"""
_BUILT = """
cd /app && find . /srv -not -type d | LC_ALL=C sort
cat said bin/link /etc/app.conf
stat -c %U /srv/other.py ~joe/mine
echo $GREETING
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A folder with a Dockerfile and what it needs."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/main.py").write_text("print('said')\n")
    (tmp_path / "app/noise.log").touch()
    (tmp_path / ".dockerignore").write_text("**/*.log\n")
    (tmp_path / "Dockerfile").write_text(_DOCKERFILE)
    subprocess.run(["tar", "-czf", "more.tar.gz", "app/main.py"], cwd=tmp_path, check=True, timeout=30)
    return tmp_path


def test_a_dockerfile_becomes_an_environment(ready: Pyro, context: Path) -> None:
    told = cli("env", "build", "built", str(context), "--build-arg", "VERSION=7", "--build-arg", "BASE=debian:12")
    assert told.startswith("built sha256:")
    made = ready.inspect_environment("built")
    assert made["origin"]["config"]["cmd"] == ["python3", "main.py"]
    assert made["origin"]["ignored"] == ["line 25: HEALTHCHECK"]
    ran = ready.run_in_vm("built", command=_BUILT, timeout_seconds=120)
    assert ran["stdout"].splitlines() == [
        "./bin/link", "./bin/tool", "./main.py", "./said", "/srv/more/app/main.py", "/srv/other.py",
        "said", "built", "version=7", "nobody", "joe", "hello world",
    ]  # fmt: skip


def test_a_step_that_fails_shows_its_line_and_output_and_leaves_nothing(ready: Pyro, context: Path) -> None:
    before = ready.list_environments()
    (context / "Dockerfile").write_text("FROM debian:12\n\nRUN echo some output && \\\n curl https://example.com\n")
    with pytest.raises(EnvironmentFailed, match=r"(?s)^line 3: RUN .* failed with exit code 6.*some output") as failed:
        ready.build_environment("built", path=context)
    assert "network=True" in failed.value.hint
    (context / "Dockerfile").write_text("FROM debian:12\nCOPY none /\n")
    with pytest.raises(NotFound, match=r"^line 2: COPY: there is no none in the build context"):
        ready.build_environment("built", path=context)
    (context / "Dockerfile").write_text("FROM debian:12\nRUN --mount=type=secret,id=a true\n")
    with pytest.raises(InvalidRequest, match=r"^line 2: RUN: --mount is not supported"):
        ready.build_environment("built", path=context)
    assert ready.list_environments() == before
    assert ready.reap_expired()["deleted"] == []


def test_a_devcontainer_runs_its_command_in_the_project(ready: Pyro, context: Path) -> None:
    (context / ".devcontainer").mkdir()
    (context / ".devcontainer/devcontainer.json").write_text(
        '{"image": "debian:12", "postCreateCommand": "cp app/main.py /srv/main.py; test -d app && exit 9"} // why'
    )
    with pytest.raises(EnvironmentFailed, match="failed with exit code 9"):
        ready.build_environment("dev", path=context / ".devcontainer/devcontainer.json")
