"""Starting a gateway for a virtual machine or a container, and a tap that leads nowhere."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_mcp.errors import HostNotReady, HostToolMissing, InvalidRequest
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.process import child_environment
from pyro_mcp.host.seccomp import require_seccomp
from pyro_mcp.host.sockets import bind, connect
from pyro_mcp.host.user_ids import machine_ids
from pyro_mcp.network.channel.memory_file import memory_file
from pyro_mcp.network.channel.messages import (
    ChannelClosed,
    Message,
    close_all,
    message_pair,
    receive_message,
    send_message,
)
from pyro_mcp.network.devices.problems import network_problems
from pyro_mcp.network.dns.upstream import RESOLVER_ENVIRONMENT
from pyro_mcp.network.gateway.control import CONTROL
from pyro_mcp.network.policy.host_secret import HostSecret
from pyro_mcp.network.policy.log import open_log
from pyro_mcp.network.policy.rules import Rules
from pyro_mcp.network.supervision.client import connect_to_supervisor

if TYPE_CHECKING:
    from pyro_mcp.network.http.authority import Authority

_DEADLINE = 20.0
_STDERR = "network.stderr"
_GET_NAMESPACE_TYPE = 0xB703  # NS_GET_NSTYPE: linux/nsfs.h
_NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET: linux/sched.h
_RETRY = Hint("try again; {} shows what this host lacks", Verb("doctor"))


class StartingGateway:
    """A gateway that ends with its starter, until it is attached to the lifetime of its guest."""

    def __init__(self, channel: socket.socket, stderr: Path, *, needs_tap: bool) -> None:
        self._channel = channel
        self._stderr = stderr
        self._needs_tap = needs_tap
        self._ready = False
        self._tap = -1

    def wait_until_ready(self) -> None:
        """Wait until the guest can use its network device; raises `HostNotReady`.

        So it does for a namespace that has an interface besides its loopback.
        """
        if not self._ready:
            descriptors = _receive_descriptors(self._channel, self._stderr, needs_tap=self._needs_tap)
            self._tap = descriptors[0] if descriptors else -1
            self._ready = True

    def tap(self) -> int:
        """Return the descriptor of the machine's tap device, once the gateway is ready; raises `HostNotReady`.

        It is the same at every call, and closed when the gateway's block ends.
        """
        self.wait_until_ready()
        return self._tap

    def attach(self, lifetime_socket: Path) -> None:
        """End the gateway when no process holds the listening socket any more; raises `HostNotReady`."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
            try:
                connect(sock, lifetime_socket)
            except OSError as error:
                raise _not_attached(error) from error
            self._attach(sock.fileno())

    def attach_to_process(self, pid: int) -> None:
        """End the gateway when the process `pid` ends; raises `HostNotReady`."""
        try:
            process = os.pidfd_open(pid)
        except OSError as error:
            raise _not_attached(error) from error
        try:
            self._attach(process)
        finally:
            os.close(process)

    def _attach(self, lifetime: int) -> None:
        self.wait_until_ready()
        try:
            send_message(self._channel, {"do": "attach"}, [lifetime])
            receive_message(self._channel)
        except ChannelClosed as error:
            raise _not_attached(error) from error

    def close(self) -> None:
        """Close this process's descriptors of the gateway."""
        if self._tap >= 0:
            os.close(self._tap)
            self._tap = -1
        self._channel.close()


@contextmanager
def launch_gateway(
    folder: Path,
    log: Path,
    rules: Rules,
    secrets: Sequence[HostSecret] = (),
    authority: Authority | None = None,
    *,
    namespace: Path | None = None,
    supervisor: Path | None = None,
) -> Iterator[StartingGateway]:
    """Start a guest's gateway; it ends with the block unless it was attached to the guest.

    `folder` gets its control socket, for `GatewayControl`. `log` is the file for `read_network_log`; under root the
    gateway runs as users of its own, reserved until the folder of the log is deleted. `authority` is needed with
    `secrets` and with `rules.terminated_hosts`, and must have been made for these hosts.

    Without `namespace` the guest is a virtual machine, whose QEMU opens `tap()`. With it the guest is a container, or
    any process, in the network namespace at that path (`/proc/PID/ns/net`): it gets the interface `eth0` with the
    address `GUEST_ADDRESS` and a default route, and must have no other interface but its loopback. That takes root, or
    CAP_SYS_ADMIN and CAP_NET_ADMIN over the namespace. Its resolver is not changed, see `RESOLVER_ADDRESS`; but DNS
    is answered by the gateway whichever address it is sent to.

    With `supervisor`, the socket of `listen_for_gateway` in another process, that process records each decision before
    it takes effect, see `Supervisor`. The gateway ends when that process ends or closes the connection.

    Raises `HostNotReady`, also when no supervisor answers, and `InvalidRequest` unless the path is a network namespace
    other than this process's own.
    """
    require_seccomp()
    _require_parts(rules, authority, supervisor)
    ids = machine_ids(log.parent)
    config = {
        "rules": rules.to_json(),
        "secrets": [asdict(secret) for secret in secrets],
        "authority": None if authority is None else authority.to_json(),
        "users": None if ids is None else [ids.relay, ids.policy],
        "supervised": supervisor is not None,
    }
    with ExitStack() as stack:
        namespaces = [] if namespace is None else [_open_namespace(namespace)]
        stack.callback(close_all, namespaces)
        channels = [] if supervisor is None else [stack.enter_context(connect_to_supervisor(supervisor))]
        control = stack.enter_context(_listen(private_directory(folder) / CONTROL))
        log_file = open_log(log)
        stack.callback(os.close, log_file)
        stderr = folder / _STDERR
        channel = _spawn("pyro_mcp.network.gateway.program", stderr)
        gateway = StartingGateway(channel, stderr, needs_tap=namespace is None)
        stack.callback(gateway.close)
        settings = memory_file(config)
        stack.callback(os.close, settings)
        try:
            supervisors = [one.fileno() for one in channels]
            send_message(channel, {}, [settings, control.fileno(), log_file, *supervisors, *namespaces])
        except ChannelClosed as error:
            raise HostNotReady(f"the gateway did not start: {error}", hint=_RETRY) from error
        for sent in (control, *channels):
            sent.close()
        yield gateway


def _require_parts(rules: Rules, authority: Authority | None, supervisor: Path | None) -> None:
    """Raise `InvalidRequest` unless the gateway gets what these rules need."""
    if rules.metered_hosts and supervisor is None:
        raise InvalidRequest(
            f"the requests to {rules.metered_hosts[0]} are counted by the supervisor of the gateway, which has none",
            hint="name the socket of a supervisor, or leave out the meter",
        )
    if rules.terminated_hosts and authority is None:
        raise InvalidRequest(
            f"TLS to {rules.terminated_hosts[0]} ends at the gateway, which has no authority to sign for it",
            hint="make an Authority for the terminated_hosts of the rules",
        )
    if rules.supervised_names and supervisor is None:
        raise InvalidRequest(
            f"{rules.supervised_names[0]} leads to the supervisor of the gateway, which has none",
            hint="name the socket of the supervisor",
        )


@contextmanager
def isolated_tap() -> Iterator[int]:
    """Give the descriptor of a tap device in a namespace that holds nothing else; raises `HostNotReady`."""
    with _spawn("pyro_mcp.network.devices.isolated") as channel:
        (tap,) = _receive_descriptors(channel, needs_tap=True)
    try:
        yield tap
    finally:
        os.close(tap)


def _open_namespace(path: Path) -> int:
    """Return a descriptor of the network namespace at `path`; raises `InvalidRequest`."""
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe would block
    except OSError as error:
        raise InvalidRequest(
            f"cannot open the network namespace {path}: {error.strerror}", hint="it is /proc/PID/ns/net"
        ) from error
    try:
        _require_other_network_namespace(namespace, path)
    except InvalidRequest:
        os.close(namespace)
        raise
    return namespace


def _require_other_network_namespace(descriptor: int, path: Path) -> None:
    try:
        is_network = fcntl.ioctl(descriptor, _GET_NAMESPACE_TYPE) == _NETWORK_NAMESPACE
    except OSError:  # it is no namespace at all
        is_network = False
    if not is_network:
        raise InvalidRequest(f"{path} is not a network namespace", hint="it is /proc/PID/ns/net")
    if os.path.samestat(os.fstat(descriptor), os.stat("/proc/self/ns/net")):
        raise InvalidRequest(f"{path} is this process's own network namespace", hint="name that of a container")


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        bind(listener, path)
    except OSError as error:
        listener.close()
        raise HostNotReady(f"cannot listen at {path}: {error}") from error
    listener.listen(32)
    return listener


def _spawn(module: str, stderr: Path = Path(os.devnull)) -> socket.socket:
    """Start one of our own programs with a channel as its standard input; return our end.

    It is in a session of its own, and its standard error goes to the file `stderr`.
    """
    ours, theirs = message_pair()
    with theirs, open(stderr, "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=child_environment(RESOLVER_ENVIRONMENT),
            start_new_session=True,
            cwd="/",
        )
    # It is meant to outlive this process; when it does not, this thread keeps it from staying a zombie.
    threading.Thread(target=process.wait, daemon=True).start()
    ours.settimeout(_DEADLINE)
    return ours


def _receive_descriptors(channel: socket.socket, stderr: Path = Path(os.devnull), *, needs_tap: bool) -> list[int]:
    """Wait for the program's first message, and return its descriptors: one tap, or none; raises `HostNotReady`."""
    try:
        message, descriptors = receive_message(channel)
    except ChannelClosed as error:
        reason = stderr.read_text(errors="replace").strip().splitlines()[-1:] or [str(error)]
        raise HostNotReady(f"the network gateway did not start: {reason[0]}", hint=_RETRY) from error
    if "error" not in message and len(descriptors) == needs_tap:
        return descriptors
    close_all(descriptors)
    raise _failure(message, needs_tap=needs_tap)


def _failure(message: Message, *, needs_tap: bool) -> HostNotReady:
    """Return the error with the child's reason and hint; without a hint, with the problems of this host if it has any.

    The reason and the hint belong together.
    """
    problems = network_problems(needs_tap=needs_tap)
    if message.get("hint") or not problems:
        reason, hint = str(message.get("error")), str(message.get("hint") or "") or _RETRY
    else:
        reason, hint = "; ".join(one for one, _ in problems), "; ".join(remedy for _, remedy in problems)
    is_tool_missing = any("nft" in problem and problem in reason for problem, _ in problems)
    kind = HostToolMissing if is_tool_missing else HostNotReady
    return kind(f"this host cannot give the guest its network: {reason}", hint=hint)


def _not_attached(error: Exception) -> HostNotReady:
    return HostNotReady(f"the gateway could not be attached to its guest: {error}", hint=_RETRY)
