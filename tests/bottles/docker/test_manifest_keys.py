"""Keys of the manifest that the container of a bottle depends on."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from claude_bottle.backend.docker.images import account_in
from claude_bottle.errors import BottleFailed
from pyro_mcp.errors import InvalidRequest
from tests.bottles.docker.conftest import IMAGE, Shelf
from tests.waiting import until

CONTROL = (
    "Package: greeting\nVersion: 1.2\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: hi\n"
)


@pytest.fixture
def image_with_repository(shelf: Shelf, tmp_path: Path) -> str:
    """An image whose only source of packages is a folder of its own, with the package `greeting`."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb, which makes the package, is not installed")
    made = tmp_path / "greeting"
    (made / "DEBIAN").mkdir(parents=True)
    (made / "DEBIAN/control").write_text(CONTROL)
    (made / "usr/bin").mkdir(parents=True)
    (made / "usr/bin/greeting").write_text("#!/bin/sh\necho hello\n")
    (made / "usr/bin/greeting").chmod(0o755)
    folder = tmp_path / "repository"
    folder.mkdir()
    package = folder / "greeting.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", made, package], check=True, timeout=60)
    content = package.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (folder / "Packages").write_text(f"{CONTROL}Filename: ./greeting.deb\nSize: {len(content)}\nSHA256: {digest}\n")
    (tmp_path / "sources").write_text("deb [trusted=yes] file:/repository ./\n")
    shelf.engine.call(["create", "--name=source", IMAGE, "sh", "-c", "rm -rf /etc/apt/sources.list.d/*"])
    try:
        shelf.engine.call(["cp", folder, "source:/repository"])
        shelf.engine.call(["cp", tmp_path / "sources", "source:/etc/apt/sources.list"])
        shelf.engine.call(["start", "--attach", "source"])
        shelf.engine.call(["commit", "source", "with-repository"])
    finally:
        shelf.engine.call(["rm", "--force", "source"])
    return "oci:with-repository"


def test_packages_are_installed_once_in_an_image_of_their_own(shelf: Shelf, image_with_repository: str) -> None:
    first = shelf.launch(["greeting"], environment=image_with_repository, packages=["greeting"])
    assert (shelf.wait(first), first.output(most=100)) == (0, b"hello\r\n"), shelf.said
    assert "installing greeting" in shelf.said
    shelf.said.clear()
    second = shelf.launch(["sh", "-c", "greeting; id -un"], environment=image_with_repository, packages=["greeting"])
    assert (shelf.wait(second), second.output(most=100)) == (0, b"hello\r\nagent\r\n")
    assert "installing greeting" not in shelf.said

    with pytest.raises(BottleFailed, match="Unable to locate package no-such-package"):
        shelf.launch(["true"], environment=image_with_repository, packages=["no-such-package"])


def test_a_container_is_killed_when_its_time_is_over(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = shelf.plan(["sleep", "600"])
    resources = plan.bottle.resources.model_copy(update={"ttl_seconds": 1.0})
    monkeypatch.setattr(type(plan), "bottle", plan.bottle.model_copy(update={"resources": resources}))
    bottle = shelf.backend.launch(plan, shelf.said.append)
    assert shelf.wait(bottle) == 137


def test_the_end_of_a_container_can_be_moved_while_it_runs(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = shelf.plan(["sleep", "60"])
    resources = plan.bottle.resources.model_copy(update={"ttl_seconds": 5.0})
    monkeypatch.setattr(type(plan), "bottle", plan.bottle.model_copy(update={"resources": resources}))
    bottle = shelf.backend.launch(plan, shelf.said.append)
    later = bottle.ends_at() + 3

    bottle.live_until(later)

    assert shelf.wait(bottle) == 137 and time.time() >= later - 1


def test_a_container_is_killed_in_time_also_after_docker_lost_its_connection(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = shelf.plan(["sleep", "600"])
    resources = plan.bottle.resources.model_copy(update={"ttl_seconds": 8.0})
    monkeypatch.setattr(type(plan), "bottle", plan.bottle.model_copy(update={"resources": resources}))
    bottle = shelf.backend.launch(plan, shelf.said.append)
    waiting = until("docker waits for the container", lambda: clients("wait", bottle.container))
    for pid in waiting:
        os.kill(pid, signal.SIGKILL)
    assert bottle.exit_code() is None
    assert shelf.wait(bottle) == 137


def clients(verb: str, container: str) -> list[int]:
    """Return the docker programs of this host that do `verb` to the container."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_text(errors="replace").split("\0")
            if words[0].endswith("docker") and words[1:3] == [verb, container]:
                found.append(int(path.parent.name))
    return found


def test_a_number_as_the_user_of_an_image_has_a_home_of_its_own(shelf: Shelf) -> None:
    shelf.engine.call(["create", "--name=numbered", IMAGE, "true"])
    try:
        shelf.engine.call(["commit", "--change=USER 54321:54322", "numbered", "with-number"])
    finally:
        shelf.engine.call(["rm", "--force", "numbered"])
    bottle = shelf.launch(["sh", "-c", "id -u; id -g; cd; touch mine; pwd"], environment="oci:with-number")
    assert shelf.wait(bottle) == 0
    assert bottle.output(most=100).split() == [b"54321", b"54322", b"/home/%d" % 54321]


def test_an_accelerator_is_refused_before_anything_starts(shelf: Shelf) -> None:
    with pytest.raises(InvalidRequest, match=r"bottles\.test\.accelerator"):
        shelf.plan(["true"], accelerator="kvm")


USERS = """\
root:x:0:0:root:/root:/bin/sh
node:x:1000:1001::/srv/node/:/bin/sh
agent:x:7:8::relative:/bin/sh
broken
"""


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("node", ("node", 1000, 1001, "/srv/node")),
        ("1000", ("node", 1000, 1001, "/srv/node")),
        ("node:5", ("node", 1000, 5, "/srv/node")),
        ("12345", ("", 12345, 0, f"/home/{12345}")),
        ("", ("agent", 7, 8, "/home/agent")),
    ],
)
def test_the_user_of_an_image_is_found_in_its_list(user: str, expected: tuple[str, int, int, str]) -> None:
    found = account_in(USERS, user)
    assert (found.name, found.uid, found.gid, found.home) == expected


def test_a_user_that_the_image_does_not_have_is_an_error() -> None:
    with pytest.raises(BottleFailed, match="'nobody'"):
        account_in(USERS, "nobody")
