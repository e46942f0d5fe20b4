"""Nothing that a guest pushes runs on this host: canaries wherever content can name a program."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.gate.remotes import PushRule
from claude_bottle.gate.shown import HeldPush
from claude_bottle.guard.requests import RequestState
from tests.bottles.gate.canary import HOOKS, Canary, canary_in, evil_files, settings
from tests.bottles.gate.world import World, text


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    with canary_in(tmp_path) as found:
        yield found


def test_the_canary_sings_where_git_reads_the_settings(world: World, canary: Canary) -> None:
    """The positive control: the same content runs the canary when it is git's own settings."""
    with world.gate():
        world.commit(evil_files(canary))
    (world.clone / ".git/config").write_text((world.clone / ".git/config").read_text() + settings(canary.path))
    world.git("show", "--ext-diff", "--textconv", "HEAD", "--", "a.c")
    assert canary.sang()


@pytest.mark.parametrize("decision", ["approved", "denied", "pending"])
def test_hooks_settings_and_drivers_in_the_content_never_run(
    world: World, canary: Canary, decision: RequestState
) -> None:
    world.person.decision = decision
    with world.gate():
        world.commit(evil_files(canary))
        for path in world.clone.rglob("*"):
            if path.is_file() and ".git/" not in str(path):
                path.chmod(path.stat().st_mode | stat.S_IXUSR)
        world.commit({})
        done = world.push("origin", "HEAD:agent/x")
        assert (done.returncode == 0) == (decision == "approved"), text(done)
        world.git("fetch", "-q")
    assert not canary.sang()
    assert ("refs/heads/agent/x" in world.refs()) == (decision == "approved")


def test_the_settings_of_the_users_git_start_nothing_either(
    world: World, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = world.root / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(settings(canary.path).replace("hooksPath = hooks", f"hooksPath = {home}/hooks"))
    (home / "hooks").mkdir()
    for name in HOOKS:
        os.link(canary.path, home / "hooks" / name)
    monkeypatch.setenv("HOME", str(home))
    world.person.decision = "approved"
    with world.gate():
        world.commit(evil_files(canary))
        assert world.push("origin", "HEAD:agent/x").returncode == 0
    assert not canary.sang()


def test_hooks_of_a_local_upstream_do_not_run_even_where_its_settings_name_its_content(
    world: World, canary: Canary
) -> None:
    seed = world.root / "seed"
    for name in HOOKS:
        os.link(canary.path, world.upstream / "hooks" / name)
    world.git("config", "core.hooksPath", "../.githooks", cwd=seed)
    world.commit({f".githooks/{name}": canary.path.read_text() for name in HOOKS}, cwd=seed)
    for name in HOOKS:
        (seed / ".githooks" / name).chmod(0o755)
    canary.sang()  # the commit of the upstream itself ran them
    world.person.decision = "approved"
    for number, url in enumerate((world.upstream, seed)):
        with world.gate(world.remote(PushRule("refs/heads/agent/*"), url=url), clone=number == 0) as address:
            world.git("remote", "set-url", "origin", f"{address}/origin.git")
            world.commit({"a": str(number)})
            done = world.push("origin", f"HEAD:agent/n{number}")
            assert done.returncode == 0, text(done)
    assert not canary.sang()


def test_a_person_sees_hostile_text_as_it_is(world: World) -> None:
    with world.gate():
        world.commit(
            {"a\u202etxt.py": "x = 1 \x1b[2J\u2066\u200b\r\n", "tab": "a\tb\n", "nul": b"\0binary"},
            "subject \x1b]0;title\x07 \u202eevil\n\nbody \x9b1m",
        )
        assert "held as request r1" in text(world.push("origin", "HEAD:agent/x"))
    (folder,) = (world.state / "origin/held").iterdir()
    shown = HeldPush.load(folder)
    assert shown is not None
    whole = "\n".join([shown.summary, *shown.remarks, shown.log, shown.diff])
    assert all(one.isprintable() or one in "\n\t" for one in whole)
    assert "\\x1b[2J" in shown.diff
    assert "\\u2066\\u200b\\r" in shown.diff
    assert "\\u202eevil" in shown.log
    assert "a\tb" in shown.diff
    assert "Binary files" in shown.diff
    assert world.person.texts
    assert all(one.isprintable() for one in world.person.texts[0])


def test_attributes_in_the_content_hide_nothing_from_a_person(world: World) -> None:
    with world.gate():
        world.commit({".gitattributes": "* -diff\n*.py binary linguist-generated\n", "a.py": "seen = 1\n"})
        assert "held" in text(world.push("origin", "HEAD:agent/x"))
    (folder,) = (world.state / "origin/held").iterdir()
    shown = HeldPush.load(folder)
    assert shown is not None
    assert "+seen = 1" in shown.diff
