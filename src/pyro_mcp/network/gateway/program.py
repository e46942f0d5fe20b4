"""The two processes of a machine's gateway: `python -m pyro_mcp.network.gateway.program`, with a socket as its input.

The starter sends one message (rules, secrets) with the control socket and the log, gets the tap's descriptor back,
and sends the machine's life line later. When the starter goes away before that, or the machine after it, or either
half at any time, all ends.

Both halves are caged before they serve: each has mount, pid, ipc and uts namespaces of its own, a root with nothing in
it but what a resolver reads (the outer half) or with nothing at all (the inner half), no capability, bounds, and a
filter of system calls; as root each is a user of its own. All that they will ever need is loaded before.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - names are encoded when nobody may read the standard library any more
import json
import os
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

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
from pyro_mcp.network.dns import upstream
from pyro_mcp.network.gateway.policy_process import Control, Outer, wait_for_end
from pyro_mcp.network.gateway.ports import Ports
from pyro_mcp.network.gateway.relay_process import Inner, TLSHandler, open_sockets
from pyro_mcp.network.gateway.system_calls import inner_filter, outer_filter
from pyro_mcp.network.gateway.threads import spawn_or_exit
from pyro_mcp.network.policy.decisions import Policy
from pyro_mcp.network.policy.log import NetworkLog
from pyro_mcp.network.policy.rules import Rules
from pyro_mcp.network.tap import tap_device

_DESCRIPTORS = 8192


def main() -> NoReturn:
    """Become a gateway; never returns."""
    starter = socket.socket(fileno=os.dup(0))
    try:
        _, (settings, control, log) = receive_message(starter)
        with open(settings, encoding="utf-8") as file:
            config = json.load(file)
    except (ChannelClosed, ValueError):
        sys.exit("this program is started by pyro alone")
    privileges.limit_files(_DESCRIPTORS)
    try:
        privileges.new_namespaces()
        if os.fork():
            os._exit(0)  # the child is the first process of its pid namespace
        ours, theirs = message_pair()
        outside = privileges.pid_in_proc()
        is_outer = privileges.fork_with_own_pids() != 0
    except OSError as error:
        send_message(starter, _problem(error))
        sys.exit(1)
    if not is_outer:
        ours.close()
        starter.close()
        os.close(control)
        os.close(log)
        _run_inner(config, theirs)
    theirs.close()
    _quiet_input()
    try:
        outer = _Outer(config, ours, NetworkLog(log), outside)
        outer.run(starter, socket.socket(fileno=control))
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        # Threads that wait for something would hold up any other end; the inner half's namespace ends with ours.
        os._exit(0)


def _run_inner(config: Message, channel: socket.socket) -> NoReturn:
    """The child: into a namespace of its own, where it opens all it will ever need."""
    try:
        outside = privileges.pid_in_proc()
        privileges.new_network_namespace()
        device = tap_device.open_tap()
        tap_device.bring_up()
        sockets = open_sockets()
        tap_device.guard(sockets.tcp.getsockname()[1], sockets.udp.getsockname()[1])
        secrets = config["secrets"]
        tls_proxy = _swap(secrets, config["authority"]) if secrets else None
        inspecting = bool(config["rules"]["allow"] or secrets)
        relaying = Inner(sockets, channel, inspecting=inspecting, swap=tls_proxy)
        _quiet_input()
        send_message(channel, {"ready": True, "pid": outside}, [device])
        os.close(device)
        privileges.enter_empty_root()
        _give_up(config["users"], 0, inner_filter())
        relaying.serve()
    except (OSError, PyroError, ChannelClosed) as error:
        with suppress(ChannelClosed):
            send_message(channel, _problem(error))
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(1)


def _give_up(users: list[int] | None, half: int, program: bytes) -> None:
    """Keep no right that serving does not need, for good."""
    privileges.limit_memory_and_threads()
    privileges.drop_privileges(None if users is None else users[half])
    load_filter(program)


def resolver_folders() -> list[str]:
    """The folders that looking up a name reads, of those that this host has."""
    configuration = os.path.dirname(os.path.realpath("/etc/resolv.conf"))
    wanted = ["/etc", "/usr/lib", "/usr/lib64", "/run/systemd/resolve", "/run/nscd"]
    if not any(f"{configuration}/".startswith(f"{folder}/") for folder in wanted):
        wanted.append(configuration)
    return [folder for folder in wanted if os.path.isdir(folder)]


def _quiet_input() -> None:
    """Let standard input be nothing, instead of the line to the starter."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)


def _problem(error: Exception) -> Message:
    if isinstance(error, PyroError):
        return {"error": error.message, "hint": error.hint}
    return {"error": str(error), "hint": ""}


def _swap(secrets: list[dict[str, str]], authority: Any) -> TLSHandler:
    from pyro_mcp.network.http import tls_proxy  # noqa: PLC0415 - only a machine with such secrets pays for TLS

    return tls_proxy.server(secrets, authority)


class _Outer:
    """The parent: gives the tap away, decides, and waits for the end."""

    def __init__(self, config: Message, channel: socket.socket, log: NetworkLog, outside: int) -> None:
        rules = Rules.from_json(config["rules"])
        self._policy = Policy(rules, log, [secret["host"] for secret in config["secrets"]])
        self._ports = Ports(channel, allowed=rules.published)
        self._channel = channel
        self._users = config["users"]
        self._pids: dict[str, Any] = {"outer_pid": outside}

    def run(self, starter: socket.socket, control: socket.socket) -> None:
        """Return when all is to end."""
        upstream.keep_loaded()
        with suppress(ChannelClosed):
            message, descriptors = receive_message(self._channel)
            self._pids["inner_pid"] = message.get("pid")
            # Not before: until now the inner half may have been in our mount namespace.
            privileges.enter_empty_root(resolver_folders())
            _give_up(self._users, 1, outer_filter())
            send_message(starter, message, descriptors)
            if not descriptors:
                return
            close_all(descriptors)
            spawn_or_exit(Outer(self._policy, self._channel).serve)
            spawn_or_exit(Control(control, self._ports, self._info).serve)
            _, (life,) = receive_message(starter)
            send_message(starter, {})
            starter.close()
            wait_for_end(life)

    def _info(self) -> dict[str, Any]:
        return {**self._pids, "ports": self._ports.shown()}


if __name__ == "__main__":
    main()
