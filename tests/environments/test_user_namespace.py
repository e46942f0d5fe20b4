from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pyro_mcp.environments import user_namespace
from pyro_mcp.environments.user_namespace import remove_tree, run_as_root
from pyro_mcp.errors import HostCommandFailed, HostNotReady
from tests.environments.conftest import ROOT
from tests.environments.oci_images import HELLO, Registry

_USER = "pyro-test-user"


def test_a_program_writes_below_its_folder_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    run_as_root(["sh", "-c", "echo ok > file && chown 5:7 file"], writable=tmp_path / "mine", deadline_seconds=10)
    assert (tmp_path / "mine/file").read_text() == "ok\n"
    for place in (Path.home(), Path("/etc")):
        with pytest.raises(HostCommandFailed, match=r"Read-only|No such file"):
            run_as_root(["touch", place / "pyro-test"], writable=tmp_path / "mine", deadline_seconds=10)


def test_a_program_has_a_tmp_of_its_own(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pyro-", dir="/tmp") as seen:
        run_as_root(["sh", "-c", f"test ! -e {seen} && mkdir {seen}"], writable=tmp_path, deadline_seconds=10)


def test_a_program_has_no_network_unless_it_is_given(tmp_path: Path) -> None:
    devices = run_as_root(["cat", "/proc/net/dev"], writable=tmp_path, deadline_seconds=10).stdout
    assert [line.split(b":")[0].strip() for line in devices.splitlines()[2:]] == [b"lo"]


def test_a_tree_is_removed_whatever_its_owners_and_modes(tmp_path: Path) -> None:
    script = "mkdir -p tree/deep && touch tree/deep/file && chown -R 9:9 tree/deep && chmod 000 tree/deep"
    run_as_root(["sh", "-c", script], writable=tmp_path, deadline_seconds=10)
    remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_machine_that_refuses_namespaces_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = tmp_path / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'bwrap: Creating new namespace failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(HostNotReady) as caught:
        run_as_root(["true"], writable=tmp_path, deadline_seconds=10)
    assert "sysctl" in caught.value.hint


@pytest.fixture(scope="module")
def user() -> Iterator[str]:
    """An ordinary user of this machine, for the time of the tests."""
    if os.geteuid() != 0:
        pytest.skip("making a second user needs root")
    with suppress(KeyError):
        pytest.skip(f"the user {pwd.getpwnam(_USER).pw_name} exists on this machine already")
    subprocess.run(["useradd", "--create-home", _USER], check=True)
    try:
        yield _USER
    finally:
        subprocess.run(["userdel", "--remove", _USER], check=True, capture_output=True)


@pytest.fixture(scope="module")
def code() -> Iterator[Path]:
    """A copy of the code that everybody can read."""
    folder = Path(tempfile.mkdtemp(prefix="pyro-", dir="/var/tmp"))
    shutil.copytree(ROOT / "src/pyro_mcp", folder / "pyro_mcp")
    shutil.copytree(ROOT / "tests/environments", folder / "tests/environments")
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    yield folder
    shutil.rmtree(folder)


def pull_as(user: str, code: Path, name: str) -> subprocess.CompletedProcess[str]:
    become = ["runuser", "-u", user, "--", "env", "-C", str(code), f"PYTHONPATH={code}"]
    cache = f"{pwd.getpwnam(user).pw_dir}/.cache"
    for python in (sys.executable, "/usr/bin/python3"):  # ours may live in a home that others cannot enter
        if run([*become, python, "-c", "import pyro_mcp.environments"]).returncode == 0:
            return run([*become, python, "-m", "tests.environments.puller", cache, name])
    pytest.skip("there is no Python 3.11 here that every user can run")


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)


def owners(user: str, prefix: str, path: str) -> str:
    """The ids and mode of a file inside the user's one image whose name starts so, as "UID:GID MODE"."""
    folder = Path(pwd.getpwnam(user).pw_dir) / ".cache/environments"
    (image,) = folder.glob(f"{prefix}*/*/root.erofs")
    shown = subprocess.run(["dump.erofs", f"--path=/{path}", image], check=True, capture_output=True, text=True)
    words = shown.stdout.split()
    uid, gid, mode = (words[words.index(key) + 1] for key in ("Uid:", "Gid:", "Access:"))
    return f"{uid}:{gid} {mode.split('/')[0]}"


def test_an_ordinary_user_builds_debian(user: str, code: Path) -> None:
    done = pull_as(user, code, "debian:12-base")
    assert done.returncode == 0, done.stderr
    assert owners(user, "debian-12-base", "etc/shadow") == "0:42 0640"


def test_an_ordinary_user_pulls_an_image(user: str, code: Path, registry: Registry) -> None:
    registry.push("user:1", HELLO)
    done = pull_as(user, code, f"oci:{registry.address}/user:1")
    assert done.returncode == 0, done.stderr
    assert owners(user, "oci-127.0.0.1", "etc/shadow") == "42:42 0644"


def test_a_user_without_subordinate_ids_is_told_the_command_that_grants_them(user: str, code: Path) -> None:
    ranges = "0-4294967295"
    subprocess.run(["usermod", "--del-subuids", ranges, "--del-subgids", ranges, user], check=True)
    done = pull_as(user, code, "debian:12")
    assert f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}" in done.stderr


def test_the_hint_for_missing_ids_needs_a_range_that_is_large_enough(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text("someone:100000:65536\nsmall:200000:10\nbroken\n")
    assert user_namespace.grants_enough_ids(table, "someone")
    assert not user_namespace.grants_enough_ids(table, "small")
    assert not user_namespace.grants_enough_ids(tmp_path / "none", "someone")
