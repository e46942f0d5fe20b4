"""The processes of an agent: all that inherited its environment, and all in the sessions of its terminals.

python -P -m moot.agents.processes /repository/.worktrees/qa 4711      end them, in a container
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from pyro_mcp.errors import DeadlineExceeded
from pyro_mcp.host.process_identity import Identity, alive, identify

VARIABLE = "CONVO_WORKTREE"
"""The variable that marks a process as one of the agent that works in that worktree."""
GENTLE_SECONDS = 5.0
"""How long a process may take to end by itself."""
_MOST_SECONDS = 20.0
_TMUX_CLIENTS = ("tmux", "tmux: client")


def agent_processes(tree: str, leaders: Iterable[int] = ()) -> list[Identity]:
    """Return the processes of the agent that works in the worktree `tree`, without this one and those above it.

    `leaders` are the first processes of its terminals; processes in their sessions count too.
    """
    mark, sessions, spared = f"{VARIABLE}={tree}".encode(), set(leaders), _own_line()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in spared:
            continue
        with suppress(OSError):
            marked = mark in Path("/proc", entry, "environ").read_bytes().split(b"\0")
            if (marked or os.getsid(int(entry)) in sessions) and (identity := identify(int(entry))):
                found.append(identity)
    return found


def end_agent_processes(tree: str, leaders: Iterable[int] = ()) -> int:
    """End the processes of an agent, with SIGKILL if they do not end in 5 s; return how many there were.

    They may start others meanwhile; those end too. Raises `DeadlineExceeded` when some are left after 20 s.
    """
    sessions = list(leaders)
    end, gentle = time.monotonic() + _MOST_SECONDS, time.monotonic() + GENTLE_SECONDS
    signalled: set[Identity] = set()
    while found := agent_processes(tree, sessions):
        now = time.monotonic()
        if now >= end:
            raise DeadlineExceeded(
                f"{len(found)} processes of {tree} do not end: {', '.join(str(one.pid) for one in found)}",
                hint="look at them with ps, then run 'moot down' again",
            )
        for one in found:
            if now >= gentle:
                _signal(one, signal.SIGKILL)
            elif one not in signalled:
                _signal(one, signal.SIGTERM)
        signalled |= set(found)
        wait_for_end(found, max(0.05, gentle - time.monotonic()))
    return len(signalled)


def wait_for_starts(run_folder: str) -> None:
    """Wait until no client of tmux is about to start a program of this run folder, at most 5 s.

    The client of a launch that was killed goes on, and would make the session after it was looked for.
    """
    mark = os.fsencode(f"{run_folder}/")
    found = []
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            name = Path("/proc", entry, "comm").read_text().strip() if entry.isdigit() else ""
            if name in _TMUX_CLIENTS and mark in Path("/proc", entry, "cmdline").read_bytes():
                found.append(identify(int(entry)))
    wait_for_end([one for one in found if one is not None], GENTLE_SECONDS)


def wait_for_end(processes: Iterable[Identity], seconds: float) -> bool:
    """Wait until all these processes have ended, at most `seconds`; return whether they have."""
    end = time.monotonic() + seconds
    with ExitStack() as stack:
        watched = set()
        for one in processes:
            with suppress(ProcessLookupError):
                fd = os.pidfd_open(one.pid)
                stack.callback(os.close, fd)
                if alive(one):
                    watched.add(fd)
        while watched:
            poll = select.poll()
            for fd in watched:
                poll.register(fd, select.POLLIN)
            ready = poll.poll(max(0.0, end - time.monotonic()) * 1000)
            if not ready:
                return False
            watched -= {fd for fd, _ in ready}
    return True


def _signal(process: Identity, number: int) -> None:
    with suppress(ProcessLookupError):
        fd = os.pidfd_open(process.pid)
        try:
            if alive(process):
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


def _own_line() -> set[int]:
    """Return this process and those above it: an agent may run 'moot down' itself."""
    line, pid = set(), os.getpid()
    while pid > 1 and pid not in line:
        line.add(pid)
        try:
            stat = Path("/proc", str(pid), "stat").read_bytes()
        except OSError:
            break
        pid = int(stat[stat.rindex(b")") + 2 :].split()[1])
    return line


def main(arguments: Sequence[str]) -> int:
    """End the processes of the agent of the worktree `arguments[0]`; the others are the leaders of its terminals."""
    end_agent_processes(arguments[0], [int(one) for one in arguments[1:]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
