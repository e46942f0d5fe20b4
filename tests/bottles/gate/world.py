"""A gate on a port of this host, its upstream, and a guest's git."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_bottle.gate.gate import Gate
from claude_bottle.gate.remotes import GATE_HOST, PushRule, Remote
from claude_bottle.guard.part import Part
from claude_bottle.guard.requests import Request, RequestState

MAIN = "refs/heads/main"
AGENT = PushRule("refs/heads/agent/*")
AUTHOR = {f"GIT_{who}_{what}": "x@y.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@dataclass
class Person:
    """Decides requests: at once as `decision` says, or later when a test calls `decide`."""

    decision: RequestState = "pending"
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    spent_numbers: list[int] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    answers: dict[int, Request] = field(default_factory=dict)

    def ask(self, kind: str, rule: Mapping[str, Any], *, reason: str) -> Request:
        assert kind == "push"
        with self.changed:
            if rule not in self.asked:
                self.asked.append(rule)
                self.texts.append(reason)
            number = self.asked.index(rule) + 1
            return self.answers.setdefault(number, self._answer(number, self.decision))

    def wait(self, number: int, seconds: float) -> Request:
        with self.changed:
            self.changed.wait_for(lambda: self.answers[number].state != "pending", seconds)
            return self.answers[number]

    def spent(self, number: int) -> None:
        self.spent_numbers.append(number)

    def decide(self, number: int, decision: RequestState) -> None:
        with self.changed:
            self.answers[number] = self._answer(number, decision)
            self.changed.notify_all()

    def _answer(self, number: int, decision: RequestState) -> Request:
        end = time.time() + 600.0
        decided_by = "" if decision == "pending" else "person tester"
        return Request(
            number=number,
            guard="g1",
            slug="web-1",
            bottle="dev",
            agent="web",
            kind="push",
            rule=self.asked[number - 1],
            digest="",
            policy="",
            reason=self.texts[number - 1],
            asked_by="agent",
            asked_at=0.0,
            expires_at=end,
            grant_seconds=600.0,
            state=decision,
            decided_by=decided_by,
            granted_until=end if decision == "approved" else None,
        )


@dataclass
class World:
    """The folders of a test, and what was recorded."""

    root: Path
    person: Person = field(default_factory=Person)
    journal: list[dict[str, Any]] = field(default_factory=list)
    base: str = ""

    @property
    def upstream(self) -> Path:
        return self.root / "upstream.git"

    @property
    def clone(self) -> Path:
        return self.root / "clone"

    @property
    def state(self) -> Path:
        return self.root / "gate"

    def record(self, decision: str, *, who: str, rule: str, what: Mapping[str, object]) -> None:
        self.journal.append({"decision": decision, "who": who, "rule": rule, "what": dict(what)})

    def git(
        self, *words: str, cwd: Path | None = None, check: bool = True, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git as a guest would: with settings of its own."""
        environ = {**os.environ, **AUTHOR, "HOME": str(self.root), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
        environ["GIT_TERMINAL_PROMPT"] = "0"
        done = subprocess.run(
            ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", *words],
            cwd=cwd or self.clone,
            env=environ,
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"git {words}: {done.stderr.decode()}")
        return done

    def out(self, *words: str, cwd: Path | None = None) -> str:
        return self.git(*words, cwd=cwd).stdout.decode().strip()

    def refs(self) -> dict[str, str]:
        """The refs of the upstream, by its own word."""
        listed = self.out("for-each-ref", "--format=%(refname) %(objectname)", cwd=self.upstream)
        return dict(line.split(" ") for line in listed.splitlines())

    def commit(self, files: Mapping[str, str | bytes], message: str = "change", *, cwd: Path | None = None) -> str:
        """Commit files in the clone; return the new commit."""
        where = cwd or self.clone
        for name, content in files.items():
            path = where / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "--force", "--all", cwd=where)
        self.git("commit", "--quiet", "--message", message, cwd=where)
        return self.out("rev-parse", "HEAD", cwd=where)

    def push(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Push from the clone; the exit code tells how it went."""
        return self.git("push", *words, check=False)

    def remote(self, *push: PushRule, **options: Any) -> Remote:
        return Remote("origin", str(options.pop("url", self.upstream)), push=push or (AGENT,), **options)

    @contextmanager
    def gate(self, *remotes: Remote, clone: bool = True, **options: Any) -> Iterator[str]:
        """Serve the gate; yield its address. The clone of `origin` is made through it."""
        options = {"wait_seconds": 0.05, "fresh_seconds": 0.0, **options}
        gate = Gate(self.state, remotes or (self.remote(),), self.person, self.record, **options)
        with listening(gate) as port:
            url = f"http://127.0.0.1:{port}"
            if clone:
                self.git("clone", "--quiet", f"{url}/origin.git", str(self.clone), cwd=self.root)
            yield url


@contextmanager
def listening(gate: Gate | Part) -> Iterator[int]:
    """Listen on a port, and pass each connection on to the gate; end all of them at the end."""
    bridges: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    bridges.append(threading.Thread(target=_bridge, args=(listener.accept()[0], _connect(gate))))
                    bridges[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            gate.close()
            for one in bridges:
                one.join()


def _connect(gate: Gate | Part) -> socket.socket:
    return gate.connect() if isinstance(gate, Gate) else gate.connect(GATE_HOST)


def _bridge(near: socket.socket, far: socket.socket) -> None:
    with near, far:
        back = threading.Thread(target=_copy, args=(far, near))
        back.start()
        _copy(near, far)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def make_world(root: Path) -> World:
    """Make an upstream with two commits on `main`."""
    world = World(root)
    world.git("init", "--quiet", "--bare", str(world.upstream), cwd=root)
    seed = root / "seed"
    world.git("init", "--quiet", str(seed), cwd=root)
    world.commit({"README": "one\n", "src/a.py": "print(1)\n"}, "first", cwd=seed)
    world.base = world.commit({"README": "two\n"}, "second", cwd=seed)
    world.git("tag", "v1", cwd=seed)
    world.git("push", "--quiet", "--tags", str(world.upstream), "main", cwd=seed)
    return world


def text(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return what git said, on one line."""
    return " ".join(done.stderr.decode().split())


def words(given: str) -> Sequence[str]:
    return given.split()
