"""A host with a route to a simulated internet, in the namespaces of this process, and gateways on it."""

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

from pyro_mcp.host.files import private_directory
from pyro_mcp.network import AllowGiven, Authority, GatewayControl, HostSecret, Rules, launch_gateway, read_network_log
from pyro_mcp.results import NetworkLogEntry
from tests.network.internet import DNS, HOST_SIDE, SITE_NAME, THIS_SIDE, set_up


class Testbed:
    """The host and its internet; `folder` gets their files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Testbed:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        set_up("lo", "127.0.0.1/8")
        self.site_authority = Authority(self.folder / "site-authority", [SITE_NAME])
        (self.folder / "site.pem").write_text(self.site_authority.identities[SITE_NAME])
        internet = self._stack.enter_context(
            start_program(["unshare", "--net"], "tests.network.internet", str(self.folder))
        )
        assert receive_line(internet) == "here"
        command = [
            "ip",
            "link",
            "add",
            "uplink",
            "type",
            "veth",
            "peer",
            "name",
            "downlink",
            "netns",
            str(internet.pid),
        ]
        subprocess.run(command, check=True)
        set_up("uplink", f"{HOST_SIDE}/24")
        subprocess.run(["ip", "route", "add", "default", "via", THIS_SIDE], check=True)
        for name, text in (
            ("resolv.conf", f"nameserver {DNS}\nsearch corp.test\n"),
            ("hosts", "127.0.0.1 localhost\n"),
        ):
            (self.folder / name).write_text(text)
            subprocess.run(["mount", "--bind", str(self.folder / name), f"/etc/{name}"], check=True)
        _send_line(internet, "")
        assert receive_line(internet) == "ready"
        self._internet = internet
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def container_folder(self) -> Path:
        """Return the folder of a container."""
        return private_directory(self.folder / "sockets")

    def asked(self) -> list[str]:
        """End the internet; return the names that its DNS server was asked for."""
        assert self._internet.stdin is not None and self._internet.stdout is not None
        self._internet.stdin.close()
        return [line.split()[1] for line in self._internet.stdout if line.startswith("asked")]

    @contextmanager
    def guest(
        self,
        *allow: AllowGiven,
        published: bool = False,
        secrets: Sequence[HostSecret] = (),
        supervisor: Path | None = None,
    ) -> Iterator[Guest]:
        """Start a gateway, and a simulated guest behind it."""
        folder, log = self.folder / "sockets", self.folder / "network.log"
        with socket.socket(socket.AF_UNIX) as lifetime, ExitStack() as stack:
            with launch_gateway(folder, log, Rules(allow, published), secrets, supervisor=supervisor) as gateway:
                (folder / "lifetime").unlink(missing_ok=True)
                lifetime.bind(str(folder / "lifetime"))
                lifetime.listen()
                fd = gateway.tap()
                words = ["tests.network.simulated_guest", str(folder), str(fd)]
                process = stack.enter_context(start_program(["unshare", "--net", "--mount"], *words, pass_fds=[fd]))
                assert receive_line(process) == "ready"
                gateway.attach(folder / "lifetime")
            yield Guest(process, GatewayControl(folder), log, lifetime)


class Guest:
    """The guest behind a gateway; `control` is the gateway's, `lifetime` its attached socket."""

    def __init__(
        self, process: subprocess.Popen[str], control: GatewayControl, log: Path, lifetime: socket.socket | None = None
    ) -> None:
        self._process, self.control, self._log, self._lifetime = process, control, log, lifetime

    def close_lifetime(self) -> None:
        """End what the gateway is attached to."""
        assert self._lifetime is not None
        self._lifetime.close()

    def python(self, code: str) -> str:
        """Run a Python program in the guest; return its output, or the last line of its error."""
        argv = [sys.executable, "-c", f"import socket, struct\n{textwrap.dedent(code)}"]
        _send_line(self._process, json.dumps(argv))
        done = json.loads(receive_line(self._process))
        return str(done["out"] if done["code"] == 0 else done["err"].strip().splitlines()[-1]).strip()

    def start(self, code: str) -> None:
        """Start a Python program in the guest."""
        argv = ["sh", "-c", 'exec "$0" -c "$1" >/dev/null 2>&1 &', sys.executable, textwrap.dedent(code)]
        _send_line(self._process, json.dumps(argv))
        receive_line(self._process)

    def reached(self, host: str, port: int, send: str = "") -> str:
        """Connect to a TCP server; return its first line, or the error."""
        return self.python(f"""
            line = socket.create_connection(({host!r}, {port}), 10)
            line.sendall({send.encode("latin-1")!r})
            print(line.recv(100).decode("latin-1").partition("\\n")[0])
        """)

    def log(self) -> list[NetworkLogEntry]:
        return read_network_log(self._log, 1000)


@contextmanager
def start_program(
    before: list[str], module: str, *words: str, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Start a Python program in new namespaces; kill it at the end, and when this process dies."""
    program = ["setpriv", "--pdeathsig", "KILL", *before, sys.executable, "-m", module, *words]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=pass_fds
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _send_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def receive_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it ended"
    return line.strip()
