"""The networks of machines: each has its gateway, which starts and ends with it."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.engine import Command, Engine, MachineSockets
from pyro_mcp.errors import Conflict, DeadlineExceeded, PyroError
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.host.files import private_directory, write_atomic
from pyro_mcp.host.process_identity import Identity, identify, kill
from pyro_mcp.host.sockets import connect as connect_to
from pyro_mcp.machines.folders import Folders
from pyro_mcp.machines.guest_mirrors import mirror_environ
from pyro_mcp.machines.machine_store import MachineRecord
from pyro_mcp.machines.network_policy import PUBLISHED, NetworkPolicy
from pyro_mcp.machines.phases import Phase
from pyro_mcp.machines.secrets import Secrets
from pyro_mcp.network import (
    CONTROL,
    GUEST_ADDRESS,
    RESOLVER_ADDRESS,
    Authority,
    GatewayControl,
    GuestCA,
    StartingGateway,
    launch_gateway,
    read_network_log,
)
from pyro_mcp.results import NetworkState, WorkspaceNetworkInfo, WorkspaceNetworkLog

_END_DEADLINE = 10.0
# A gateway ends by itself with its machine; one that has not after so long is stopped, or hangs.
_UNTIL_KILLED = 1.0
_POLICY_PROCESS = "network.pid"
_CA_DEADLINE = 10.0


@contextmanager
def start_gateway(record: MachineRecord, folders: Folders, secrets: Secrets) -> Iterator[StartingGateway | None]:
    """Start the gateway of a machine that is about to start; yield None for one without network.

    It ends with the block unless it was attached to the machine.
    """
    if not record.network.on:
        yield None
        return
    folder = private_directory(folders.sockets(record.id))
    network, log = record.network, folders.network_log(record.id)
    with launch_gateway(
        folder,
        log,
        network.rules(),
        secrets.host_secrets(),
        secrets.authority(network),
        supervisor=network.supervisor,
    ) as gateway:
        yield gateway


def attach_gateway(
    gateway: StartingGateway, record: MachineRecord, folders: Folders, engine: Engine, secrets: Secrets
) -> None:
    """Tie the gateway's life to the machine, which runs now, and add CA certificates to the guest's lists."""
    sockets = folders.sockets(record.id)
    gateway.attach(MachineSockets(sockets).life)
    if policy_process := identify(GatewayControl(sockets).info().policy_pid):
        write_atomic(sockets / _POLICY_PROCESS, f"{policy_process.pid} {policy_process.start_time}\n")
    if ca := guest_ca(record, secrets):
        with engine.connect(sockets) as connection:
            for argv in ca.system_store_commands():
                environ = {"PATH": "/usr/bin:/bin"}
                connection.run(Command(argv, cwd="/", environ=environ, timeout_seconds=_CA_DEADLINE))


@contextmanager
def wait_for_gateway_end(sockets: Path) -> Iterator[None]:
    """Wait, after the block, until the gateway of a machine that ended in the block is gone too, with its ports."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as witness:
        try:
            connect_to(witness, sockets / CONTROL)
        except OSError:  # there is none
            yield
            return
        policy_process = _policy_process(sockets)
        yield
        watch = select.poll()
        watch.register(witness, 0)  # a hang-up is told unasked
        if policy_process is not None and not watch.poll(_UNTIL_KILLED * 1000):
            kill(policy_process)  # the relay process is in its pid namespace, and ends with it
        if not watch.poll(_END_DEADLINE * 1000):
            raise DeadlineExceeded(f"the gateway of a machine that ended did not end within {_END_DEADLINE:g} s")


def _policy_process(sockets: Path) -> Identity | None:
    """Return the policy process of a machine's gateway; None for a gateway that was never attached."""
    try:
        pid, start_time = (sockets / _POLICY_PROCESS).read_text().split()
        return Identity(int(pid), int(start_time))
    except (OSError, ValueError):
        return None


def network_files(record: MachineRecord, secrets: Secrets) -> dict[str, tuple[int, bytes]]:
    """Return the files for a machine's root that its network needs: guest path → mode, content."""
    if not record.network.on:
        return {}
    resolver = (0o644, f"nameserver {RESOLVER_ADDRESS}\n".encode())
    return {"/etc/resolv.conf": resolver, **guest_ca(record, secrets).files()}


def guest_ca(record: MachineRecord, secrets: Secrets) -> GuestCA:
    """Return the certificate authorities that are added to a machine."""
    return GuestCA(secrets.authority(record.network), record.network.trust_host_ca)


def network_environ(network: NetworkPolicy, authority: Authority | None = None) -> dict[str, str]:
    """Return the variables that a machine's commands need to use its network: whom to trust, which mirrors."""
    return GuestCA(authority, network.trust_host_ca).environ() | mirror_environ(network)


def network_info(record: MachineRecord, folders: Folders) -> WorkspaceNetworkInfo:
    """Return the current state of a workspace's network."""
    on = record.network.on
    state, ports = _state(record, folders)
    return {
        "workspace_id": record.id,
        "network_policy": record.network_policy,
        "allow_hosts": record.network.listed,
        "state": state,
        "guest_address": GUEST_ADDRESS if on else None,
        "resolver": RESOLVER_ADDRESS if on else None,
        "published_ports": [{"host_port": host, "guest_port": guest} for host, guest in ports],
    }


def _state(record: MachineRecord, folders: Folders) -> tuple[NetworkState, list[tuple[int, int]]]:
    if not record.network.on:
        return "off", []
    if record.phase != Phase.RUNNING:
        return "down", []
    try:
        return "up", list(GatewayControl(folders.sockets(record.id)).info().ports)
    except PyroError:
        return "down", []  # it died: the machine has no network at all until it is started anew


def network_log(record: MachineRecord, folders: Folders, limit: int) -> WorkspaceNetworkLog:
    """Return the newest `limit` entries of a workspace's network log, oldest first, without secrets."""
    entries = read_network_log(folders.network_log(record.id), limit)
    shown = Secrets(folders.home(record.id)).mask().everything(entries)
    return {"workspace_id": record.id, "count": len(entries), "entries": shown}


class Ports:
    """The ports of one running workspace that are published on the host's 127.0.0.1."""

    def __init__(self, record: MachineRecord, folders: Folders) -> None:
        self._record = record
        self._folders = folders

    def publish(self, host_port: int | None, guest_port: int) -> int:
        """Publish a guest port on 127.0.0.1, at `host_port` or any; return it. Raises `Conflict` for a taken one."""
        if self._record.network_policy != PUBLISHED:
            raise Conflict(
                f"{self._record.id} may not publish ports: its network policy is {self._record.network_policy}",
                hint=Hint("create a workspace with {}", Argument("network_policy", PUBLISHED)),
            )
        return self._control.publish(host_port, guest_port)

    def shown(self) -> Sequence[tuple[int, int]]:
        """Return host and guest port of each published one; none where the gateway has died."""
        return _state(self._record, self._folders)[1]

    def unpublish(self, host_port: int) -> None:
        """Close a published port; connections over it end."""
        self._control.unpublish(host_port)

    def watch(self, host_ports: Sequence[int], lives: Sequence[int]) -> None:
        """Close ports when the first of `lives` is readable, even if none of our other processes is left."""
        self._control.watch(host_ports, lives)

    @property
    def _control(self) -> GatewayControl:
        return GatewayControl(self._folders.sockets(self._record.id))
