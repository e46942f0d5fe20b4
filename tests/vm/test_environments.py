"""Environments that grow from work, on real machines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import Conflict, InvalidRequest
from tests.network.web import HOST

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
    """What `pyro` prints, as a user runs it."""
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
