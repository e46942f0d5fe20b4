"""How often a verb opens the database, takes a lock and reads the secrets: counted, over the fake engine."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.fake import FakeEngine, outcome
from pyro_mcp.engine.freeze import GUEST_TOOL
from pyro_mcp.engine.interface import Command, Outcome
from tests.trees.conftest import tool_binary
from tests.trees.host_tree import HostTool

__all__ = ["tool_binary"]

SECRETS = [{"name": "TOKEN", "value": "s3cr3t-value"}]
SHELL = "shell-0123456789ab"


class _Count:
    """Counts what Python reports to audit hooks: such a hook cannot be removed, so it counts only while it is `on`."""

    def __init__(self) -> None:
        self.on = False
        self.counts: Counter[str] = Counter()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "sqlite3.connect":
            self.counts["database"] += 1
        elif event == "fcntl.flock":
            self.counts["locks"] += 1
        elif event == "open" and isinstance(arguments[0], str) and "r" in (arguments[1] or ""):
            path = Path(arguments[0])
            self.counts["secrets"] += path.name == "secrets.json"
            self.counts["record"] += path.name == "record.json" and path.parents[1].name == "machines"


_count = _Count()
sys.addaudithook(_count)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what happens in the block."""
    _count.counts, _count.on = Counter(), True
    try:
        yield _count.counts
    finally:
        _count.on = False


@pytest.fixture
def engine(tool_binary: Path, tmp_path: Path) -> FakeEngine:
    """Guests whose file tool works on a folder of this host, and that have one shell and one service."""
    folders = {"/root/workspace": tmp_path / "workspace", "/baseline": tmp_path / "baseline"}
    for folder in folders.values():
        folder.mkdir()
    (tmp_path / "workspace" / "file").write_text("content\n")
    run = HostTool(tool_binary)
    line = f"running 0 77 {time.time_ns() // 10**6} 80 24 0 0 0 0 0\n".encode()

    def answer(command: Command) -> Outcome:
        if command.argv[0] == GUEST_TOOL:
            assert command.on_stdout is not None
            words = [str(folders.get(str(word), word)) if isinstance(word, str) else word for word in command.argv[1:]]
            run(words, stdin=command.stdin, on_stdout=command.on_stdout)
            return outcome()
        if command.argv[0] != "/session":
            return outcome(stdout=b"out\n")
        if "list" in command.argv:
            return outcome(stdout=b"service.web " + line)
        if "status" in command.argv and "service.web" in command.argv and not opened:
            return outcome(2, stderr=b"no such session")
        if "open" in command.argv:
            opened.append("web")
        return outcome(stdout=line)

    opened: list[str] = []
    return FakeEngine(answer)


@pytest.fixture
def new_pyro(home: Path, warm_cache: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Pyro]:
    """Makes the SDK as a new process of the command line does."""
    assert home.exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache.parent))
    return lambda: Pyro(engine=engine)


VERBS: dict[str, tuple[Callable[[Pyro, str], object], dict[str, int]]] = {
    "status": (lambda pyro, id_: pyro.status_workspace(id_), {"database": 1, "locks": 0, "secrets": 1}),
    "list": (lambda pyro, _: pyro.list_workspaces(), {"database": 1, "locks": 0, "secrets": 0}),
    "exec": (
        lambda pyro, id_: pyro.exec_workspace(id_, command="true", secret_env=["TOKEN"]),
        {"database": 2, "locks": 2, "secrets": 1},
    ),
    "file read": (
        lambda pyro, id_: pyro.read_workspace_file(id_, "file"), {"database": 2, "locks": 2, "secrets": 1}
    ),
    "file list": (lambda pyro, id_: pyro.list_workspace_files(id_), {"database": 2, "locks": 2, "secrets": 1}),
    "file write": (
        lambda pyro, id_: pyro.write_workspace_file(id_, "new", text="text\n"),
        {"database": 2, "locks": 2, "secrets": 1},
    ),
    "diff": (lambda pyro, id_: pyro.diff_workspace(id_), {"database": 2, "locks": 2, "secrets": 1}),
    "snapshot": (lambda pyro, id_: pyro.create_snapshot(id_, "one"), {"database": 6, "locks": 3, "secrets": 0}),
    "reset": (lambda pyro, id_: pyro.reset_workspace(id_), {"database": 11, "locks": 2, "secrets": 1}),
    "shell read": (lambda pyro, id_: pyro.read_shell(id_, SHELL), {"database": 1, "locks": 2, "secrets": 1}),
    "service status": (
        lambda pyro, id_: pyro.status_service(id_, "web"), {"database": 2, "locks": 2, "secrets": 1}
    ),
    "create": (
        lambda pyro, _: pyro.create_workspace("debian:12", secrets=SECRETS),
        {"database": 7, "locks": 1, "secrets": 1},
    ),
    "delete": (lambda pyro, id_: pyro.delete_workspace(id_), {"database": 1, "locks": 2, "secrets": 0}),
}  # fmt: skip
"""What a verb may do at most."""


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_opens_the_database_and_reads_the_secrets_as_seldom_as_promised(
    new_pyro: Callable[[], Pyro], verb: str
) -> None:
    id_ = new_pyro().create_workspace("debian:12", secrets=SECRETS)["workspace_id"]
    if verb.startswith("service"):
        new_pyro().start_service(id_, "web", command="serve")
    call, most = VERBS[verb]
    pyro = new_pyro()
    with counted() as counts:
        call(pyro, id_)
    assert counts["database"] > 0
    assert {name: counts[name] for name in most if counts[name] > most[name]} == {}
    assert counts["record"] <= 1
