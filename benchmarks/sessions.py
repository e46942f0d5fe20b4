"""Measure shells and services."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.workspaces import workspace
from pyro_mcp import Pyro

_ECHOES = 20


def of_sessions(environment: str, state: Path, runs: int) -> list[Figure]:
    """Measure from a typed line to its echo, and from a service's start until it is ready."""
    pyro = Pyro(state=state)
    with workspace(pyro, environment, None) as id_:
        shell_id = pyro.open_shell(id_)["shell_id"]
        cursor = pyro.read_shell(id_, shell_id, wait_for_idle_ms=300)["next_cursor"]
        echoes = []
        for number in range(_ECHOES):
            took, cursor = _echo(pyro, id_, shell_id, cursor, f"x{number}")
            echoes.append(took)
        starts = [_start(pyro, id_, f"service{number}") for number in range(max(5, runs))]
    return [
        Figure("shell: write to echo read", "ms", echoes, 30),
        Figure("service: start to ready, by a file", "ms", starts, 200),
    ]


def _echo(pyro: Pyro, id_: str, shell_id: str, cursor: int, text: str) -> tuple[float, int]:
    started = time.perf_counter()
    pyro.write_shell(id_, shell_id, input=text, append_newline=False)
    while True:
        read = pyro.read_shell(id_, shell_id, cursor=cursor)
        if text in read["output"]:
            return (time.perf_counter() - started) * 1000, read["next_cursor"]


def _start(pyro: Pyro, id_: str, name: str) -> float:
    started = time.perf_counter()
    pyro.start_service(id_, name, command=f"touch {name}; exec sleep 1000", readiness={"type": "file", "path": name})
    took = (time.perf_counter() - started) * 1000
    pyro.stop_service(id_, name)
    return took
