"""Starting a machine's gateway, and a tap that leads nowhere."""

from __future__ import annotations

import json
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

from pyro_mcp.errors import HostNotReady, HostToolMissing
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.process import child_environment
from pyro_mcp.host.seccomp import require_seccomp
from pyro_mcp.host.sockets import bind, connect
from pyro_mcp.host.user_ids import machine_ids
from pyro_mcp.network.channel.messages import (
    ChannelClosed,
    Message,
    close_all,
    message_pair,
    receive_message,
    send_message,
)
from pyro_mcp.network.dns.upstream import RESOLVER_ENVIRONMENT
from pyro_mcp.network.gateway.control import CONTROL
from pyro_mcp.network.policy.log import open_log
from pyro_mcp.network.policy.rules import HostSecret, Rules
from pyro_mcp.network.tap.problems import network_problems

if TYPE_CHECKING:
    from pyro_mcp.network.http.authority import Authority

_DEADLINE = 20.0
_COMPLAINTS = "network.stderr"


class StartingGateway:
    """A gateway that ends with its starter, until it is attached to a machine."""

    def __init__(self, line: socket.socket, complaints: Path) -> None:
        self._line = line
        self._complaints = complaints
        self._tap = -1

    def tap(self) -> int:
        """The descriptor of the machine's tap device, as soon as the gateway is ready; raises `HostNotReady`.

        It is the same at every call, and closed when the gateway's block ends.
        """
        if self._tap < 0:
            self._tap = _tap_from(self._line, self._complaints)
        return self._tap

    def attach(self, life: Path) -> None:
        """Let the gateway live as long as somebody holds the listening socket `life`; raises `HostNotReady`."""
        self.tap()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
            try:
                connect(line, life)
                send_message(self._line, {"do": "attach"}, [line.fileno()])
                receive_message(self._line)
            except (OSError, ChannelClosed) as error:
                raise HostNotReady(f"the machine and its gateway did not meet: {error}", hint=_AGAIN) from error

    def close(self) -> None:
        """Close what this process has of it."""
        if self._tap >= 0:
            os.close(self._tap)
            self._tap = -1
        self._line.close()


@contextmanager
def starting_gateway(
    folder: Path, log: Path, rules: Rules, secrets: Sequence[HostSecret] = (), authority: Authority | None = None
) -> Iterator[StartingGateway]:
    """A machine's gateway, on its way; it ends with the block unless it was attached to the machine.

    `folder` is that of the machine's sockets, to which its control socket is added; `log`, in the machine's home, is
    the file that `read_network_log` reads. Raises `HostNotReady`.
    """
    require_seccomp()
    ids = machine_ids(log.parent)
    config = json.dumps(
        {
            "rules": rules.to_json(),
            "secrets": [asdict(one) for one in secrets],
            "authority": None if authority is None else authority.to_json(),
            "users": None if ids is None else [ids.relay, ids.policy],
        }
    )
    with ExitStack() as stack:
        control = stack.enter_context(_listening(private_directory(folder) / CONTROL))
        log_file = open_log(log)
        stack.callback(os.close, log_file)
        complaints = folder / _COMPLAINTS
        line = _spawn("pyro_mcp.network.gateway.program", complaints)
        gateway = StartingGateway(line, complaints)
        stack.callback(gateway.close)
        settings = _in_memory(config)
        stack.callback(os.close, settings)
        try:
            send_message(line, {}, [settings, control.fileno(), log_file])
        except ChannelClosed as error:
            raise HostNotReady(f"the gateway did not start: {error}", hint=_AGAIN) from error
        control.close()
        yield gateway


@contextmanager
def isolated_tap() -> Iterator[int]:
    """The descriptor of a tap device in a namespace that holds nothing else; raises `HostNotReady`."""
    with _spawn("pyro_mcp.network.tap.isolated") as line:
        tap = _tap_from(line)
    try:
        yield tap
    finally:
        os.close(tap)


_AGAIN = Hint("try again; {} shows what this host lacks", Verb("doctor"))


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        bind(listener, path)
    except OSError as error:
        listener.close()
        raise HostNotReady(f"cannot listen at {path}: {error}") from error
    listener.listen(32)
    return listener


def _in_memory(text: str) -> int:
    """The descriptor of a nameless file that holds `text`: secrets are in no command line and on no disk."""
    file = os.memfd_create("settings", os.MFD_CLOEXEC)
    with open(file, "w", encoding="utf-8", closefd=False) as writer:
        writer.write(text)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _spawn(module: str, complaints: Path = Path(os.devnull)) -> socket.socket:
    """Start one of our own programs with a channel as its input; returns our end.

    It has a session of its own, and its standard error is `complaints`.
    """
    ours, theirs = message_pair()
    with theirs, open(complaints, "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=child_environment(RESOLVER_ENVIRONMENT),
            start_new_session=True,
            cwd="/",
        )
    # It outlives us by design; should we outlive it, it must not stay a zombie.
    threading.Thread(target=process.wait, daemon=True).start()
    ours.settimeout(_DEADLINE)
    return ours


def _tap_from(line: socket.socket, complaints: Path = Path(os.devnull)) -> int:
    try:
        message, descriptors = receive_message(line)
    except ChannelClosed as error:
        said = complaints.read_text(errors="replace").strip().splitlines()[-1:] or [str(error)]
        raise HostNotReady(f"the machine's network did not start: {said[0]}", hint=_AGAIN) from error
    if len(descriptors) == 1 and "error" not in message:
        return descriptors[0]
    close_all(descriptors)
    raise _failure(message)


def _failure(message: Message) -> HostNotReady:
    problems = network_problems()
    hint = str(message.get("hint") or "") or "; ".join(mend for _, mend in problems) or _AGAIN
    kind = HostToolMissing if problems and "nft" in problems[0][0] else HostNotReady
    said = problems[0][0] if problems else str(message.get("error"))
    return kind(f"this host cannot give a machine its network: {said}", hint=hint)
