"""Upstreams of every kind: git over HTTPS with a password, and over SSH with a key; both on ports of this host."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bottles.gate.world import World
from tests.style.project import ROOT
from tests.waiting import until

USER, WORD = "someone", "canary-of-https"
_UNPACKED = ROOT / "build/openssh-server"
_PACKAGES = ("openssh-server", "libwrap0")
_FETCH_SECONDS = 300


@dataclass
class Served:
    """An upstream: its address, and how often somebody came without the credential.

    `hold` is called with a service of git before and after it gets each request that has arrived.
    """

    url: str
    refused: list[str] = field(default_factory=list)
    hold: Callable[[str, str], None] = lambda _service, _when: None


@contextmanager
def https_upstream(world: World) -> Iterator[Served]:
    """Serve the upstream with git's http-backend to who knows the password; the user's git has it."""
    home = world.root / "home"
    home.mkdir(exist_ok=True)
    certificate, key = world.root / "cert.pem", world.root / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    argv += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*argv, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    world.git("config", "http.receivepack", "true", cwd=world.upstream)
    expected = "Basic " + base64.b64encode(f"{USER}:{WORD}".encode()).decode()
    served = Served("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != expected:
                served.refused.append(self.path)
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            environ = _cgi_variables(self, world.root)
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            service = self.path.rpartition("/")[2]
            served.hold(service, "before")
            done = subprocess.run(["git", "http-backend"], env=environ, input=body, capture_output=True, check=True)
            served.hold(service, "after")
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(fields.pop("Status", "200").split(" ")[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - the names of the base class

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    host = f"localhost:{server.server_port}"
    served.url = f"https://{host}/upstream.git"
    (home / "credentials").write_text(
        f"https://{USER}:{WORD}@{host.replace(':', '%3a')}\nhttps://{USER}:{WORD}@{host}\n"
    )
    _add_settings(
        home, f"[http]\n\tsslCAInfo = {certificate}\n[credential]\n\thelper = store --file={home}/credentials\n"
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _cgi_variables(request: BaseHTTPRequestHandler, root: Path) -> dict[str, str]:
    """Return the variables from which git's http-backend takes a request."""
    path, _, query = request.path.partition("?")
    return {
        "PATH": "/usr/bin:/bin",
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REMOTE_USER": USER,
        "REQUEST_METHOD": request.command,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
    }


@contextmanager
def ssh_upstream(world: World) -> Iterator[Served]:
    """Serve the upstream with Debian's sshd to who has the key; the user's git has it."""
    sshd, libraries = _sshd()
    home, folder = world.root / "home", Path(tempfile.mkdtemp(prefix="sshd-", dir="/tmp"))
    home.mkdir(exist_ok=True)
    try:
        for name in ("host", "user"):
            made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(made, check=True, capture_output=True, timeout=60)
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        passwd = Path("/etc/passwd").read_text()
        (folder / "passwd").write_text(f"{passwd}sshd:x:65532:65534::/run/sshd:/usr/sbin/nologin\n")
        port = _free_port()
        options = ["UsePAM no", "StrictModes no", "PasswordAuthentication no", "PermitRootLogin yes", "PidFile none"]
        options += [f"ListenAddress 127.0.0.1:{port}", f"HostKey {folder}/host"]
        options += [f"AuthorizedKeysFile {folder}/authorized_keys"]
        (folder / "config").write_text("\n".join([*options, ""]))
        words = [
            "bwrap",
            "--bind",
            "/",
            "/",
            "--dev-bind",
            "/dev",
            "/dev",
            "--ro-bind",
            str(folder / "passwd"),
            "/etc/passwd",
        ]
        words += ["--tmpfs", "/run", "--dir", "/run/sshd", "--die-with-parent", "--"]
        with open(folder / "log", "wb") as log:
            environ = {**os.environ, "LD_LIBRARY_PATH": libraries}
            argv = [*words, str(sshd), "-D", "-e", "-f", str(folder / "config")]
            daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        try:
            said = folder / "log"
            until(
                "sshd",
                lambda: (daemon.poll(), said.read_text()),
                lambda one: one[0] is not None or "listening" in one[1],
            )
            if daemon.poll() is not None:
                raise AssertionError(f"sshd does not start: {said.read_text()}")
            known = (folder / "host.pub").read_text().rsplit(" ", 1)[0]
            (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}\n")
            command = f"ssh -F none -i {folder}/user -o UserKnownHostsFile={folder}/known_hosts"
            _add_settings(home, f"[core]\n\tsshCommand = {command}\n")
            yield Served(f"ssh://root@127.0.0.1:{port}{world.upstream}")
        finally:
            daemon.terminate()
            daemon.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _add_settings(home: Path, text: str) -> None:
    with open(home / ".gitconfig", "a") as file:
        file.write(text)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _sshd() -> tuple[Path, str]:
    """Return Debian's sshd and the folder of its libraries, unpacked below `build` where it is not installed."""
    if os.geteuid() != 0:
        pytest.skip("sshd is started by root alone")
    if (found := shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")) is not None:
        return Path(found), ""
    if not (_UNPACKED / "usr/sbin/sshd").exists():
        scratch = Path(tempfile.mkdtemp(prefix="openssh-", dir=ROOT / "build"))
        try:
            fetch = ["apt-get", "--quiet", "-o", "APT::Sandbox::User=root", "download", *_PACKAGES]
            subprocess.run(fetch, check=True, cwd=scratch, stdout=subprocess.DEVNULL, timeout=_FETCH_SECONDS)
            for package in scratch.glob("*.deb"):
                subprocess.run(["dpkg-deb", "--extract", package, scratch], check=True, timeout=_FETCH_SECONDS)
            shutil.rmtree(_UNPACKED, ignore_errors=True)
            scratch.rename(_UNPACKED)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"Debian's packages {', '.join(_PACKAGES)} cannot be fetched: {error}")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return _UNPACKED / "usr/sbin/sshd", str(_UNPACKED / "usr/lib/x86_64-linux-gnu")
