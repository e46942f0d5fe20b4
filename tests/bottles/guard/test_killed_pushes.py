"""A push while something is killed: the guard at each step, the gate's git, and the command of the person."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.audit import user_journal
from claude_bottle.bottles import Bottles
from claude_bottle.guard import process
from claude_bottle.guard.part import Part
from pyro_mcp.errors import Conflict, PyroError
from pyro_mcp.network.policy.refused import Refused
from tests.bottles.gate.upstreams import Served, https_upstream
from tests.bottles.gate.world import World, listening, make_world, text
from tests.bottles.guard.conftest import Guard, Guarded
from tests.bottles.guard.dying_guard import starting
from tests.bottles.guard.test_races import STOPPED
from tests.waiting import until

FIX = "refs/heads/agent/fix"


class ThroughGateway(Part):
    """The gate of a guard, as the bottle's gateway reaches it."""

    def __init__(self, guarded: Guarded) -> None:
        self._client = guarded.gateway.client

    def connect(self, name: str) -> socket.socket:
        try:
            return self._client.connect(name)
        except (Refused, PyroError, OSError):  # the guard has ended: the connection is closed at once
            ours, theirs = socket.socketpair()
            theirs.close()
            return ours


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An upstream; the user's git has its settings in `home` beside it."""
    monkeypatch.setenv("HOME", str(home / "home"))
    return make_world(home)


def bottle(guard: Guard, world: World, *, url: str = "") -> Guarded:
    """Start the guard of the bottle `web-1`, whose only remote is the upstream."""
    remote = {"url": url or str(world.upstream), "push": [{"ref": "refs/heads/agent/*"}]}
    return guard(git={"remotes": {"origin": remote}})


@contextmanager
def served(world: World, guarded: Guarded) -> Iterator[None]:
    """Let the clone's `origin` lead to the gate of the guard; the clone is made by the first call."""
    with listening(ThroughGateway(guarded)) as port:
        url = f"http://127.0.0.1:{port}/origin.git"
        if not world.clone.exists():
            world.git("clone", "-q", url, str(world.clone), cwd=world.root)
        world.git("remote", "set-url", "origin", url)
        yield


class Pushing:
    """A push of the bottle's git in a thread, so that a person can decide meanwhile."""

    def __init__(self, world: World) -> None:
        self.done: list[subprocess.CompletedProcess[bytes]] = []
        self._thread = threading.Thread(target=lambda: self.done.append(world.push("origin", "HEAD:agent/fix")))
        self._thread.start()

    def request(self) -> dict[str, Any] | None:
        """Wait for the request of the push, or for the end of the push; return the request."""
        until("a request, or the end", lambda: self.done or Bottles().pending()["requests"], deadline_seconds=60)
        found = Bottles().pending()["requests"]
        return dict(found[0]) if found else None

    def end(self) -> subprocess.CompletedProcess[bytes]:
        """Wait for the end of the push."""
        self._thread.join(90)
        return self.done[0]


def push_and_approve(world: World) -> subprocess.CompletedProcess[bytes]:
    """Push, and approve the push if it is held."""
    pushing = Pushing(world)
    if (request := pushing.request()) is not None:
        Bottles().approve(request["reference"], who="person ann")
    return pushing.end()


def allowed() -> list[str]:
    """Return who allowed each push, by the journal."""
    return [one.who for one in user_journal().entries(kind="push") if one.decision == "allowed"]


def is_whole(world: World, before: dict[str, str], new: str) -> bool:
    """Return whether the push has arrived; fail when it has arrived in part, or has left something in the upstream."""
    refs = world.refs()
    assert refs in (before, {**before, FIX: new}), refs
    assert list(world.upstream.rglob("*.lock")) == []
    world.git("fsck", "--full", "--strict", cwd=world.upstream)
    return FIX in refs


_PUSH, _APPROVALS = "claude_bottle.gate.push:", "claude_bottle.guard.approvals:Approvals."
STEPS = [
    ("received", f"{_PUSH}Pushes._take", "after"),
    ("unpacked", f"{_PUSH}Quarantine.receive", "after"),
    ("checked", f"{_PUSH}find_secrets", "after"),
    ("shown", "claude_bottle.gate.shown:HeldPush.save", "after"),
    ("asked", f"{_APPROVALS}ask", "after"),
    ("approved", f"{_APPROVALS}wait", "after"),
    ("used", f"{_APPROVALS}spent", "after"),
    ("recorded", "claude_bottle.gate.mirror:Mirror.push_program", "before"),
    ("forwarded", f"{_PUSH}Pushes._forward", "after"),
    ("reported", f"{_PUSH}_report", "after"),
]
"""The steps of a push, each with the call of the gate that ends it."""
ARRIVES = ("forwarded", "reported")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[0])
def test_a_guard_that_is_killed_at_a_step_of_a_push_leaves_all_of_it_or_nothing(
    guard: Guard, world: World, monkeypatch: pytest.MonkeyPatch, step: tuple[str, str, str]
) -> None:
    name, target, when = step
    before, arrives = world.refs(), name in ARRIVES
    with monkeypatch.context() as patch:
        patch.setattr(process, "_start", starting(target, when))
        killed = bottle(guard, world)
    with served(world, killed):
        new = world.commit({"a": "b"})
        pushing = Pushing(world)
        request = pushing.request()
        if request is not None:
            with suppress(Conflict):  # the guard was killed before the decision
                Bottles().approve(request["reference"], who="person ann")
        done = pushing.end()

    assert done.returncode != 0, text(done)
    assert killed.ended() and killed.gateway.ended.wait(20)
    assert is_whole(world, before, new) == arrives
    assert Bottles().pending()["requests"] == []
    assert len(allowed()) == (1 if arrives or name == "recorded" else 0)
    if request is not None:
        with pytest.raises(Conflict):
            Bottles().approve(request["reference"])

    again = bottle(guard, world)
    with served(world, again):
        done = push_and_approve(world)
    assert done.returncode == 0, text(done)
    assert ("up-to-date" in text(done)) == arrives, text(done)
    assert is_whole(world, before, new)
    assert allowed().count("person ann") == (2 if name == "recorded" else 1)
    assert Bottles().audit_verify()["intact"]


@pytest.mark.parametrize("step", ["before the record", "before the commit", "after the commit"])
def test_a_push_whose_person_is_killed_while_approving_is_approved_or_waits(
    guard: Guard, world: World, step: str
) -> None:
    before, guarded = world.refs(), bottle(guard, world)
    with served(world, guarded):
        new = world.commit({"a": "b"})
        pushing = Pushing(world)
        request = pushing.request()
        assert request is not None
        argv = [sys.executable, "-c", STOPPED, step, request["reference"]]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as command:
            assert command.stdout is not None and command.stdout.readline().strip() == step
            assert step == "after the commit" or world.refs() == before
            command.send_signal(signal.SIGKILL)
        if step != "after the commit":
            assert [one["state"] for one in Bottles().pending()["requests"]] == ["pending"]
            Bottles().deny(request["reference"], who="person ann")
        done = pushing.end()
    assert (done.returncode == 0) == (step == "after the commit"), text(done)
    assert is_whole(world, before, new) == (step == "after the commit")
    assert len(allowed()) == (1 if step == "after the commit" else 0)


class HeldUpstream:
    """An upstream over HTTPS that stops before, or after, it takes a push or answers a fetch."""

    def __init__(self, web: Served, service: str, when: str) -> None:
        self.reached, self._go_on = threading.Event(), threading.Event()
        self._service, self._when = service, when
        web.hold = self._hold

    def _hold(self, service: str, when: str) -> None:
        if (service, when) == (self._service, self._when) and not self._go_on.is_set():
            self.reached.set()
            self._go_on.wait(60)

    def go_on(self) -> None:
        self._go_on.set()


def gits_of(pid: int, word: str) -> list[int]:
    """Return the processes of git below a process whose command line has a word."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(") ")[2].split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_bytes().split(b"\0")
    below, new = set[int](), {pid}
    while new:
        below |= new
        new = {one for one, parent in parents.items() if parent in new}
    return [one for one in below if commands.get(one, [b""])[0].endswith(b"/git") and word.encode() in commands[one]]


@pytest.mark.parametrize("victim", ["git", "guard"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_push_that_is_killed_while_it_is_forwarded_arrives_at_most_once(
    guard: Guard, world: World, when: str, victim: str
) -> None:
    before = world.refs()
    with https_upstream(world) as web:
        guarded = bottle(guard, world, url=web.url)
        with served(world, guarded):
            new = world.commit({"a": "b"})
            held = HeldUpstream(web, "git-receive-pack", when)
            pushing = Pushing(world)
            request = pushing.request()
            assert request is not None
            Bottles().approve(request["reference"], who="person ann")
            assert held.reached.wait(60)
            for pid in [guarded.pid] if victim == "guard" else gits_of(guarded.pid, "push"):
                os.kill(pid, signal.SIGKILL)
            done = pushing.end()
            held.go_on()
            assert done.returncode != 0, text(done)
            until("the upstream has it", world.refs, lambda refs: FIX in refs)  # it had received the whole push
            assert is_whole(world, before, new)
            if victim == "git":
                assert "the upstream refused the push" in text(done)
                assert push_and_approve(world).returncode == 0
        if victim == "guard":
            assert guarded.ended()
            with served(world, bottle(guard, world, url=web.url)):
                assert "up-to-date" in text(push_and_approve(world))
        assert is_whole(world, before, new) and allowed() == ["person ann"]


def test_a_git_that_is_killed_while_the_gate_fetches_is_an_error_and_the_next_fetch_works(
    guard: Guard, world: World
) -> None:
    with https_upstream(world) as web:
        guarded = bottle(guard, world, url=web.url)
        with served(world, guarded):
            later = world.commit({"later": "x"}, cwd=world.root / "seed")
            world.git("push", "-q", str(world.upstream), "main", cwd=world.root / "seed")
            held = HeldUpstream(web, "git-upload-pack", "after")
            done: list[subprocess.CompletedProcess[bytes]] = []
            fetching = threading.Thread(target=lambda: done.append(fetch_until_it_asks(world, held)))
            fetching.start()
            assert held.reached.wait(60)
            for pid in gits_of(guarded.pid, "fetch"):
                os.kill(pid, signal.SIGKILL)
            fetching.join(60)
            held.go_on()
            assert done[0].returncode != 0 and "the upstream of origin failed" in text(done[0])
            world.git("fetch", "-q")
    assert world.out("rev-parse", "origin/main") == later


def fetch_until_it_asks(world: World, held: HeldUpstream) -> subprocess.CompletedProcess[bytes]:
    """Fetch until the gate asks the upstream again: it does not within a second of the last time."""
    while (done := world.git("fetch", check=False)).returncode == 0 and not held.reached.is_set():
        pass
    return done


def test_a_git_that_is_killed_while_it_reads_a_push_refuses_the_push_and_the_next_one_arrives(
    guard: Guard, world: World
) -> None:
    before, guarded = world.refs(), bottle(guard, world)
    with served(world, guarded):
        new = world.commit({"data": os.urandom(3 << 20)})
        pushing = Pushing(world)
        for pid in until("git reads the push", lambda: gits_of(guarded.pid, "index-pack")):
            os.kill(pid, signal.SIGKILL)
        done = pushing.end()
        assert done.returncode != 0 and "git refuses the objects of the push" in text(done), text(done)
        assert not is_whole(world, before, new)
        assert list(Path(os.environ["XDG_STATE_HOME"]).rglob("held/*")) == []
        assert push_and_approve(world).returncode == 0 and is_whole(world, before, new)
    assert Bottles().audit_verify()["intact"]
