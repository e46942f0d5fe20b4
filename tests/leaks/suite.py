"""Run the cases in the lab and print one JSON list, in namespaces of its own.

`python -m tests.leaks.suite FOLDER KIND [part]`: KIND is "workspace", or a backend of bottles. With the word `part` the
first case of each group is run. `null` is printed where the kind cannot run here.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pyro_mcp.errors import PyroError
from pyro_mcp.network.gateway.control import GatewayControl, GatewayInfo
from tests.leaks.cases import ALLOWED, Canary, Case, cases, firsts
from tests.leaks.guests import Bottles, NoEngine, Workspaces, guests_of
from tests.leaks.lab import Lab, knock, settle
from tests.leaks.world import HOST_OUTSIDE, NAMES, WEB, dialled
from tests.vm.processes import home_of

LIMIT = "not a boundary"
"""The group of what is shown, and not promised."""
LATER = [
    "cached-after-restart", "cached-after-reset", "published-outside",
    *(f"{what}-{name}{when}" for name in ("policy", "relay") for what, when in (
        ("killed", ""), ("killed", "-dns"), ("killed", "-restarted"), ("stalled", ""), ("killed", "-midway"),
    )),
]  # fmt: skip
"""The cases that are steps, not data."""
_NOTICED_SECONDS = 5.0
_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "ipip": 4, "gre": 47, "sctp": 132}


@dataclass(frozen=True)
class Result:
    """The result of a case: whether its canary was alive, and whether anything reached it."""

    id: str
    group: str
    policy: str
    what: str
    reaches: bool
    slow: bool
    alive: bool
    arrived: bool
    seconds: float
    said: str


def hit(arrivals: list[dict[str, object]], canary: Canary, token: str) -> bool:
    """Return whether any of the arrivals is what the canary looks for."""
    if canary.kind == "token":
        return any(token in str(one["data"]) for one in arrivals)
    return any(
        (one["protocol"], one["target"]) == (_PROTOCOLS[canary.kind], canary.target)
        and canary.port in (None, one["port"])
        for one in arrivals
    )


def alive(lab: Lab, canary: Canary, token: str) -> bool:
    """Return whether the canary notices traffic of its kind, sent from the host."""
    lab.arrivals()
    if canary.kind == "token":
        knock("udp", NAMES, 53, token)
    else:
        knock(canary.kind, canary.target, canary.port or 9999, token)
    noticed = seen(lab, canary, token)
    settle()
    lab.arrivals()  # the rest of what the host has sent
    return noticed


def seen(lab: Lab, canary: Canary, token: str) -> bool:
    """Wait until the canary has noticed something, at most a few seconds; return whether it has."""
    end = time.monotonic() + _NOTICED_SECONDS
    while not hit(lab.arrivals(), canary, token):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)  # the canaries are asked, they do not tell
    return True


def run(lab: Lab, id_: str, case: Case) -> Result:
    """Try one case in a guest."""
    lives = alive(lab, case.canary, f"t{secrets.token_hex(6)}")
    token = f"t{secrets.token_hex(6)}"
    lab.arrivals()
    said = lab.attack(id_, case.code, token)
    settle()
    arrived = hit(lab.arrivals(), case.canary, token) or (case.reaches and seen(lab, case.canary, token))
    seconds = re.search(r"seconds ([\d.]+)", said)
    if not seconds:
        raise RuntimeError(f"{case.id} did not run to its end: {said}")
    took = float(seconds[1])
    return Result(
        case.id, case.group, case.policy, case.what, case.reaches, case.slow, lives, arrived, took, said[-400:]
    )


def run_table(lab: Lab, chosen: Sequence[Case]) -> Iterator[Result]:
    """Run these cases of the table, in one guest for each policy."""
    for policy in ("off", "egress", "list", "rules"):
        id_ = lab.guests.start(policy)
        for case in chosen:
            if case.policy == policy:
                yield run(lab, id_, case)
        lab.guests.remove(id_)


# ---- what happens to the gateway, and to the workspace ----

_PROCESSES: dict[str, Callable[[GatewayInfo], int]] = {
    "policy": lambda found: found.policy_pid,
    "relay": lambda found: found.relay_pid,
}
IN_CONTAINERS = [f"killed-{name}{what}" for name in _PROCESSES for what in ("", "-dns")]
"""The cases that are steps, and are tried in containers too."""
_KEEP_SENDING = f"""
line = socket.create_connection(({WEB!r}, 22), 6)
for _ in range(400):
    line.sendall(TOKEN.encode())
    time.sleep(0.05)
"""
_PUBLIC = Case("", "", "egress", "", f"tcp({WEB!r}, 80)", Canary("tcp", WEB, 80))


def gateway(id_: str) -> GatewayInfo:
    """Return the processes of a workspace's gateway."""
    return GatewayControl(home_of(id_) / "sockets").info()


def killed(lab: Lab, workspaces: Workspaces, name: str, pid: Callable[[GatewayInfo], int]) -> Iterator[Result]:
    """Kill a process of the gateway: between connections, and while one is in use."""
    id_ = workspaces.create("egress")
    yield from without(lab, id_, name, lambda: pid(gateway(id_)))
    workspaces.pyro.stop_workspace(id_)
    workspaces.pyro.start_workspace(id_)
    again = run(lab, id_, _PUBLIC)
    yield _told(f"killed-{name}-restarted", "TCP, after stop and start", again.alive, again, reaches=True)
    stopped = gateway(id_)
    os.kill(pid(stopped), signal.SIGSTOP)
    try:
        stalled = run(lab, id_, _PUBLIC)
    finally:
        os.kill(pid(stopped), signal.SIGCONT)
    yield _told(f"stalled-{name}", f"TCP, while the gateway's {name} process stands still", again.arrived, stalled)
    workspaces.pyro.delete_workspace(id_)
    yield from killed_within(lab, workspaces, name, pid)


def killed_in_bottle(lab: Lab, bottles: Bottles, name: str, pid: Callable[[GatewayInfo], int]) -> Iterator[Result]:
    """Kill a process of a bottle's gateway."""
    id_ = bottles.start("egress")
    yield from without(lab, id_, name, lambda: pid(GatewayControl(bottles.gateway_folder(id_)).info()))
    bottles.remove(id_)


def without(lab: Lab, id_: str, name: str, pid: Callable[[], int]) -> Iterator[Result]:
    """Kill a process of a guest's gateway, and try what worked before."""
    before = run(lab, id_, _PUBLIC)
    os.kill(pid(), signal.SIGKILL)
    after = run(lab, id_, _PUBLIC)
    yield _told(f"killed-{name}", f"TCP, after the gateway's {name} process was killed", before.arrived, after)
    dns = run(lab, id_, Case("", "", "egress", "", "ask(TOKEN + '.test')", Canary("token")))
    yield _told(f"killed-{name}-dns", f"a name, after the gateway's {name} process was killed", dns.alive, dns)


def killed_within(lab: Lab, workspaces: Workspaces, name: str, pid: Callable[[GatewayInfo], int]) -> Iterator[Result]:
    """Kill a process of the gateway while a connection is in use."""
    id_ = workspaces.create("egress")
    found, token = gateway(id_), f"t{secrets.token_hex(6)}"
    lab.arrivals()
    with attacking(lab, id_, token):
        alive_before = _until_seen(lab, token)
        os.kill(pid(found), signal.SIGKILL)
        settle()
        lab.arrivals()
        time.sleep(1.0)  # the guest sends every 50 ms; no event tells that nothing comes
        arrived = hit(lab.arrivals(), Canary("token"), token)
        workspaces.pyro.delete_workspace(id_)
    what = f"an open connection, when the gateway's {name} process is killed"
    reached = Result("", "", "", "", False, True, alive_before, arrived, 0.0, "")
    yield _told(f"killed-{name}-midway", what, alive_before, reached)


@contextmanager
def attacking(lab: Lab, id_: str, token: str) -> Iterator[None]:
    """Keep a connection in use meanwhile."""

    def attack() -> None:
        with suppress(PyroError):  # the workspace is deleted under it
            lab.attack(id_, _KEEP_SENDING, token)

    thread = threading.Thread(target=attack)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
        assert not thread.is_alive(), "the attack did not end"


def _until_seen(lab: Lab, token: str) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if hit(lab.arrivals(), Canary("token"), token):
            return True
    return False


def _told(id_: str, what: str, lives: bool, found: Result, *, reaches: bool = False) -> Result:
    group = "the gateway dies"
    return Result(id_, group, "egress", what, reaches, True, lives, found.arrived, found.seconds, found.said)


def restarted(lab: Lab, workspaces: Workspaces) -> Iterator[Result]:
    """Try the address that stood for a name before a restart: it stands for none afterwards."""
    id_ = workspaces.create("egress", ALLOWED)
    first = lab.attack(id_, "ask('ssh.test')", "x")
    address = ".".join(re.findall(r"last \[(\d+), (\d+), (\d+), (\d+)\]", first)[0])
    for name, step in (
        ("restart", lambda: (workspaces.pyro.stop_workspace(id_), workspaces.pyro.start_workspace(id_))),
        ("reset", lambda: workspaces.pyro.reset_workspace(id_)),
    ):
        step()
        case = Case(
            f"cached-after-{name}", "cached answers", "list", f"the address that a name had before a {name}",
            f"tcp({address!r}, 22)", Canary("tcp", WEB, 22),
        )  # fmt: skip
        yield run(lab, id_, case)
    workspaces.pyro.delete_workspace(id_)


def published_ports(lab: Lab, workspaces: Workspaces) -> Iterator[Result]:
    """A published port is for the host's own loopback only."""
    id_ = workspaces.create("egress+published-ports")
    workspaces.pyro.start_service(
        id_, "app", command="exec python3 -m http.server 8080", readiness={"type": "tcp", "port": 8080},
        published_ports=[{"guest_port": 8080}],
    )  # fmt: skip
    [port] = workspaces.pyro.status_service(id_, "app")["published_ports"]
    lives = dialled("127.0.0.1", port["host_port"])
    arrived = lab.reachable_from_outside(HOST_OUTSIDE, port["host_port"])
    yield Result(
        "published-outside", "published ports", "egress+published-ports", "a published port, from the internet",
        False, False, lives, arrived, 0.0, "",
    )  # fmt: skip
    workspaces.pyro.delete_workspace(id_)


def every_result(lab: Lab) -> Iterator[Result]:
    """Try every case, and in workspaces what is steps, not data."""
    yield from run_table(lab, cases())
    guests = lab.guests
    if isinstance(guests, Workspaces):
        yield from restarted(lab, guests)
        yield from published_ports(lab, guests)
        for name, pid in _PROCESSES.items():
            yield from killed(lab, guests, name, pid)
    elif isinstance(guests, Bottles) and guests.backend == "docker":  # on pyro the guests are workspaces
        for name, pid in _PROCESSES.items():
            yield from killed_in_bottle(lab, guests, name, pid)


def main() -> None:
    folder, kind, *part = sys.argv[1:]
    try:
        with guests_of(kind, Path(folder)) as guests, Lab(Path(folder), guests).running() as lab:
            try:
                found = run_table(lab, firsts()) if part else every_result(lab)
                results = [asdict(result) for result in found]
            finally:
                guests.clear()
    except NoEngine:
        results = None
    print(json.dumps(results))  # noqa: T201


if __name__ == "__main__":
    main()
