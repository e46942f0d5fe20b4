"""A host with a way to a small internet, in the namespaces that this process was started in; and gateways on it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from pyro_mcp.network.gateway.control import GatewayControl
from pyro_mcp.network.gateway.starting import starting_gateway
from pyro_mcp.network.policy.log import read_network_log
from pyro_mcp.network.policy.rules import HostSecret, Rules
from pyro_mcp.results import NetworkLogEntry
from tests.network.internet import DNS, HOST_SIDE, THIS_SIDE, set_up


class World:
    """Makes the internet; `folder` is where its files go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._asked = folder / "asked"

    def __enter__(self) -> World:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        set_up("lo", "127.0.0.1/8")
        internet = self._stack.enter_context(_started(["unshare", "--net"], "tests.network.internet"))
        assert _heard(internet) == "here"
        command = ["ip", "link", "add", "way", "type", "veth", "peer", "name", "inside", "netns", str(internet.pid)]
        subprocess.run(command, check=True)
        set_up("way", f"{HOST_SIDE}/24")
        subprocess.run(["ip", "route", "add", "default", "via", THIS_SIDE], check=True)
        for name, text in (
            ("resolv.conf", f"nameserver {DNS}\nsearch corp.test\n"),
            ("hosts", "127.0.0.1 localhost\n"),
        ):
            (self.folder / name).write_text(text)
            subprocess.run(["mount", "--bind", str(self.folder / name), f"/etc/{name}"], check=True)
        _say(internet, "")
        assert _heard(internet) == "ready"
        self._internet = internet
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def asked(self) -> list[str]:
        """The names that the internet's DNS server has been asked for so far; the internet ends with this."""
        assert self._internet.stdin is not None and self._internet.stdout is not None
        self._internet.stdin.close()
        return [line.split()[1] for line in self._internet.stdout if line.startswith("asked")]

    @contextmanager
    def guest(self, *allow: str, published: bool = False, secrets: Sequence[HostSecret] = ()) -> Iterator[Guest]:
        """A stand-in for a machine behind a gateway."""
        folder, log = self.folder / "sockets", self.folder / "network.log"
        with socket.socket(socket.AF_UNIX) as life, ExitStack() as stack:
            with starting_gateway(folder, log, Rules(allow, published), secrets) as gateway:
                (folder / "life").unlink(missing_ok=True)
                life.bind(str(folder / "life"))
                life.listen()
                fd = gateway.tap()
                words = ["tests.network.stand_in", str(fd), str(folder)]
                process = stack.enter_context(_started(["unshare", "--net", "--mount"], *words, pass_fds=[fd]))
                assert _heard(process) == "ready"
                gateway.attach(folder / "life")
            yield Guest(process, GatewayControl(folder), log, life)


class Guest:
    """What runs behind a gateway; `control` is that gateway's, and `life` what it lives as long as."""

    def __init__(self, process: subprocess.Popen[str], control: GatewayControl, log: Path, life: socket.socket) -> None:
        self._process, self.control, self._log, self.life = process, control, log, life

    def python(self, code: str) -> str:
        """What a Python program printed there, or the last line of why it failed."""
        argv = [sys.executable, "-c", f"import socket, struct\n{textwrap.dedent(code)}"]
        _say(self._process, json.dumps(argv))
        done = json.loads(_heard(self._process))
        return str(done["out"] if done["code"] == 0 else done["err"].strip().splitlines()[-1]).strip()

    def start(self, code: str) -> None:
        """Run a Python program there until the guest ends."""
        argv = ["sh", "-c", 'exec "$0" -c "$1" >/dev/null 2>&1 &', sys.executable, textwrap.dedent(code)]
        _say(self._process, json.dumps(argv))
        _heard(self._process)

    def reached(self, host: str, port: int, send: str = "") -> str:
        """The greeting of the TCP server that a connection ends at, or what became of it."""
        return self.python(f"""
            line = socket.create_connection(({host!r}, {port}), 10)
            line.sendall({send.encode("latin-1")!r})
            print(line.recv(100).decode("latin-1").partition("\\n")[0])
        """)

    def log(self) -> list[NetworkLogEntry]:
        return read_network_log(self._log, 1000)


@contextmanager
def _started(
    before: list[str], module: str, *words: str, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A Python program in new namespaces, which is killed at the end, and when this process dies."""
    program = ["setpriv", "--pdeathsig", "KILL", *before, sys.executable, "-m", module, *words]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=pass_fds
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it ended"
    return line.strip()
