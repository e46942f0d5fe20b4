"""The two processes of a gateway: `python -m pyro_mcp.network.gateway.program`, with a channel as standard input.

The starter sends one message with these descriptors: settings (rules, secrets), control socket, log, the channel to the
supervisor if there is one and, for a container, its network namespace. It gets a message with the tap's descriptor
back, or without one for a container, and later sends the guest's lifetime: a descriptor that becomes readable when the
guest ends. The gateway ends when the starter ends before it has sent the lifetime, when the guest ends after that, or
when either process or the supervisor ends.

Both processes are confined before they serve: each has mount, pid, ipc and uts namespaces of its own, a root that holds
only what a resolver reads (the policy process) or nothing at all (the relay process), no capability, resource limits,
and a filter of system calls; as root each runs as a user of its own. They load all modules they need before that.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - names are encoded when the standard library cannot be read any more
import json
import os
import socket
import sys
import traceback
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from pyro_mcp.errors import PyroError
from pyro_mcp.host import privileges
from pyro_mcp.host.seccomp import load_filter
from pyro_mcp.network.channel.messages import (
    ChannelClosed,
    Message,
    close_all,
    message_pair,
    receive_message,
    send_message,
)
from pyro_mcp.network.channel.policy_client import PolicyClient
from pyro_mcp.network.devices.capture import configure_device, redirect
from pyro_mcp.network.devices.tap import open_tap
from pyro_mcp.network.devices.veth import connect_namespace
from pyro_mcp.network.dns import upstream
from pyro_mcp.network.gateway.policy_process import ControlServer, PolicyServer, wait_for_end
from pyro_mcp.network.gateway.ports import Ports
from pyro_mcp.network.gateway.relay_process import RelayProcess, open_sockets
from pyro_mcp.network.gateway.rule_change import RuleChange, StartedWith
from pyro_mcp.network.gateway.system_calls import policy_filter, relay_filter
from pyro_mcp.network.gateway.threads import spawn_or_exit
from pyro_mcp.network.policy.allow_list import WEB_PORTS
from pyro_mcp.network.policy.decisions import Policy
from pyro_mcp.network.policy.log import NetworkLog
from pyro_mcp.network.policy.refused import Refused
from pyro_mcp.network.policy.rules import Rules

if TYPE_CHECKING:
    from pyro_mcp.network.http.tls_proxy import TLSProxy
    from pyro_mcp.network.supervision.client import SupervisorClient

_DESCRIPTORS = 8192


def main() -> NoReturn:
    """Become a gateway; never returns."""
    starter = socket.socket(fileno=os.dup(0))
    try:
        _, (settings, control, log, *others) = receive_message(starter)
        with open(settings, encoding="utf-8") as file:
            config = json.load(file)
    except (ChannelClosed, ValueError):
        sys.exit("this program is started by pyro alone")
    supervisors, namespaces = (others[:1], others[1:]) if config["supervised"] else ([], others)
    privileges.limit_files(_DESCRIPTORS)
    try:
        privileges.new_namespaces()
        if os.fork():
            os._exit(0)  # the child is the first process of its pid namespace
        ours, theirs = message_pair()
        outside = privileges.pid_in_proc()
        is_policy_process = privileges.fork_with_own_pids() != 0
    except OSError as error:
        send_message(starter, _problem(error))
        sys.exit(1)
    if not is_policy_process:
        ours.close()
        starter.close()
        os.close(control)
        close_all([log, *supervisors])
        _run_relay(config, theirs, namespaces)
    theirs.close()
    close_all(namespaces)
    _detach_input()
    try:
        supervisor = _supervisor(supervisors)
        process = _PolicyProcess(config, ours, NetworkLog(log), outside, supervisor)
        process.run(starter, socket.socket(fileno=control))
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        # Waiting threads would delay any other end. The relay process ends with this pid namespace.
        os._exit(0)


def _run_relay(config: Message, channel: socket.socket, namespaces: list[int]) -> NoReturn:
    """Be the relay process: enter a network namespace of its own, open all sockets it needs, confine it, and serve."""
    try:
        outside = privileges.pid_in_proc()
        privileges.new_network_namespace()
        taps = _connect_guest(namespaces)
        configure_device()
        sockets = open_sockets()
        redirect(sockets.tcp.getsockname()[1], sockets.udp.getsockname()[1])
        rules = Rules.from_json(config["rules"])
        http_proxy = _http_proxy(config, rules, channel) if config["secrets"] or rules.is_special else None
        supervised = config["supervised"]  # then the rules may change
        inspected = WEB_PORTS | rules.special_ports if rules.allow or config["secrets"] or supervised else ()
        relay = RelayProcess(
            sockets,
            channel,
            inspected_ports=inspected,
            http_proxy=http_proxy.serve if http_proxy else None,
            set_rules=http_proxy.set_rules if http_proxy else None,
            supervised=supervised,
        )
        _detach_input()
        send_message(channel, {"ready": True, "pid": outside}, taps)
        close_all(taps)
        privileges.enter_empty_root()
        _give_up(config["users"], 0, relay_filter())
        relay.serve()
    except (OSError, PyroError, ChannelClosed) as error:
        with suppress(ChannelClosed):
            send_message(channel, _problem(error))
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(1)


def _connect_guest(namespaces: list[int]) -> list[int]:
    """Make the guest's device: a veth pair into the container's namespace, or else a tap, which is returned."""
    if not namespaces:
        return [open_tap()]
    connect_namespace(namespaces[0])
    close_all(namespaces)
    return []


def _give_up(users: list[int] | None, index: int, seccomp_filter: bytes) -> None:
    """Give up, irrevocably, every right that serving does not need; become the user at `index` of `users`."""
    privileges.limit_memory_and_threads()
    privileges.drop_privileges(None if users is None else users[index])
    load_filter(seccomp_filter)


def resolver_folders() -> list[str]:
    """Return the folders of this host that the C library reads when it looks up a name."""
    configuration = os.path.dirname(os.path.realpath("/etc/resolv.conf"))
    wanted = ["/etc", "/usr/lib", "/usr/lib64", "/run/systemd/resolve", "/run/nscd"]
    if not any(f"{configuration}/".startswith(f"{folder}/") for folder in wanted):
        wanted.append(configuration)
    return [folder for folder in wanted if os.path.isdir(folder)]


def _detach_input() -> None:
    """Make standard input /dev/null instead of the channel to the starter."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)


def _problem(error: Exception) -> Message:
    if isinstance(error, PyroError):
        return {"error": error.message, "hint": error.hint}
    return {"error": str(error), "hint": ""}


def _http_proxy(config: Message, rules: Rules, channel: socket.socket) -> TLSProxy:
    from pyro_mcp.network.http import tls_proxy  # noqa: PLC0415 - only some guests need it, and the ssl module

    return tls_proxy.server(config["secrets"], config["authority"], rules, PolicyClient(channel))


def _supervisor(channels: list[int]) -> SupervisorClient | None:
    """Return the supervisor at the other end of the channel, if there is one and it serves; raises `HostNotReady`."""
    if not channels:
        return None
    from pyro_mcp.network.supervision.client import SupervisorClient  # noqa: PLC0415 - only some gateways have one

    return SupervisorClient(socket.socket(fileno=channels[0]))


class _PolicyProcess:
    """The parent: passes the tap to the starter, decides, and waits for the end."""

    def __init__(
        self,
        config: Message,
        channel: socket.socket,
        log: NetworkLog,
        outside: int,
        supervisor: SupervisorClient | None,
    ) -> None:
        rules = Rules.from_json(config["rules"])
        self._supervisor = supervisor
        certificates = (config["authority"] or {}).get("identities", ())
        self._started_with = StartedWith(rules, frozenset(certificates), bool(config["secrets"]) or rules.is_special)
        self._policy = Policy(rules, log, [secret["host"] for secret in config["secrets"]], supervisor=supervisor)
        self._ports = Ports(channel, allowed=rules.published)
        self._channel = channel
        self._users = config["users"]
        self._pids: dict[str, Any] = {"policy_pid": outside}

    def run(self, starter: socket.socket, control: socket.socket) -> None:
        """Serve; return when the gateway is to end."""
        upstream.keep_loaded()
        with suppress(ChannelClosed):
            message, descriptors = receive_message(self._channel)
            self._pids["relay_pid"] = message.get("pid")
            # Not before: until now the relay process may have been in this mount namespace.
            privileges.enter_empty_root(resolver_folders())
            _give_up(self._users, 1, policy_filter())
            message = self._supervised(message)
            send_message(starter, message, descriptors)
            close_all(descriptors)
            if "error" in message:
                return
            spawn_or_exit(PolicyServer(self._policy, self._channel, self._supervisor).serve)
            if self._supervisor is not None:
                change = RuleChange(self._policy, self._channel, self._started_with)
                spawn_or_exit(partial(self._supervisor.serve, change.set_rules))
            spawn_or_exit(ControlServer(control, self._ports, self._info).serve)
            _, (lifetime,) = receive_message(starter)
            send_message(starter, {})
            starter.close()
            wait_for_end(lifetime)

    def _supervised(self, message: Message) -> Message:
        """Return the message to the starter: an error if the supervisor does not answer."""
        if self._supervisor is None or "error" in message:
            return message
        try:
            self._supervisor.start()
        except Refused as error:
            return {"error": str(error), "hint": "start the program that supervises this network again"}
        return message

    def _info(self) -> dict[str, Any]:
        return {**self._pids, "ports": self._ports.published()}


if __name__ == "__main__":
    main()
