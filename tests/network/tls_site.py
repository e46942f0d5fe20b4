"""A host with secrets, and a machine that talks to it through the TLS proxy, without any network between them."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyro_mcp.network.http.authority import Authority
from pyro_mcp.network.http.tls_proxy import TLSProxy
from pyro_mcp.network.policy.host_secret import HostSecret

HOST, OTHER = "api.example.com", "other.example.com"
VALUE = "sk-live-0123456789abcdefghijklmnopqrstuvwxyz"
SECRET = HostSecret("API", "pyro-secret-API-00112233445566778899aabbccdd", VALUE, HOST)
FOREIGN = HostSecret("OTHER", "pyro-secret-OTHER-0011223344556677", "other-value-0123456789", OTHER)
BODY = b"0123456789abcdef" * 64 * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    """Shows what it was asked; by path, does one thing or another."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/big":
            self.reply(BODY)
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (b"the secret is ", VALUE[:9].encode(), VALUE[9:].encode(), b".\n"):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/until-close":
            self.close_connection = True
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"the secret is " + VALUE.encode())
        elif self.path == "/br":
            self.reply(b"not looked at", ("Content-Encoding", "br"))
        elif self.path.startswith("/project.git/"):
            files = {"info/refs": b"1" * 40 + b"\trefs/heads/main\n", "HEAD": b"ref: refs/heads/main\n"}
            known = self.headers.get("Authorization") == f"Basic {base64.b64encode(f'git:{VALUE}'.encode()).decode()}"
            name = self.path.removeprefix("/project.git/").partition("?")[0]
            found = files.get(name) if known else b""
            status = 404 if found is None else 200 if known else 401
            self.reply(found or b"", ("WWW-Authenticate", "Basic"), status=status)
        elif self.path == "/redirect":
            self.reply(b"", ("Location", f"https://{OTHER}/?token={VALUE}"), status=302)
        elif self.path == "/garbage":
            self.wfile.write(b"220 this is no HTTP\r\n\r\n")
            self.close_connection = True
        else:
            self.shown(b"")

    def do_POST(self) -> None:
        if self.path == "/early":
            self.close_connection = True
            self.reply(b"too large\n", status=413)
            return
        self.shown(self.content())

    do_PUT = do_POST  # noqa: N815 - the name is given

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "12345")
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()

    def content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline() or b"0", 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def shown(self, content: bytes) -> None:
        asked = {"path": self.path, "headers": dict(self.headers.items()), "size": len(content)}
        self.server.asked.append((asked, content))  # type: ignore[attr-defined]
        self.reply(json.dumps(asked).encode(), ("X-Shown", self.headers.get("Authorization", "")))

    def reply(self, content: bytes, *headers: tuple[str, str], status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class Web:
    """The hosts `HOST` and `OTHER`, one at the other end of every `dial`, and a TLS proxy in between for `HOST`."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[dict[str, Any], bytes]] = []
        self.dialled = 0
        self.refusal: Exception | None = None
        world = Authority(folder / "world", [HOST, OTHER])
        (folder / "roots.pem").write_bytes(world.certificate)
        self.identity = world.identities[HOST]
        self.authority = Authority(folder / "authority", [HOST])
        identities = self.authority.identities
        self.tls_proxy = TLSProxy([SECRET, FOREIGN], identities, str(folder / "roots.pem"))
        self.trust = ssl.create_default_context(cadata=self.authority.certificate.decode())
        self._folder = folder

    def dial(self) -> socket.socket:
        """A new connection to the host."""
        if self.refusal is not None:
            raise self.refusal
        self.dialled += 1
        ours, theirs = socket.socketpair()
        threading.Thread(target=self.answer, args=(theirs,), daemon=True).start()
        return ours

    def answer(self, line: socket.socket) -> None:
        """Be the host, for one connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (self._folder / "host.pem").write_text(self.identity)
        context.load_cert_chain(self._folder / "host.pem")
        line.settimeout(30)
        try:
            with context.wrap_socket(line, server_side=True) as wrapped:
                Handler(wrapped, ("", 0), self)  # type: ignore[arg-type]
                wrapped.unwrap()  # an answer that goes on until the end is complete only with a close_notify
        except OSError:
            line.close()  # the other side had enough

    def dial_to(
        self, script: Callable[[ssl.SSLSocket], None], arrange: Callable[[ssl.SSLContext], object] = lambda _: None
    ) -> Callable[[], socket.socket]:
        """What dials a host that reads one piece of a request, and then does as `script` says; its TLS is arranged."""

        def serve(line: socket.socket) -> None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            (self._folder / "host.pem").write_text(self.identity)
            context.load_cert_chain(self._folder / "host.pem")
            arrange(context)
            with suppress(OSError), context.wrap_socket(line, server_side=True) as wrapped:
                wrapped.recv(65536)
                script(wrapped)

        def dial() -> socket.socket:
            ours, theirs = socket.socketpair()
            threading.Thread(target=serve, args=(theirs,), daemon=True).start()
            return ours

        return dial

    @contextmanager
    def line(self, name: str | None = HOST, dial: Callable[[], socket.socket] | None = None) -> Iterator[ssl.SSLSocket]:
        """A machine's TLS connection to `HOST`, for which it says that it wants `name`."""
        ours, theirs = socket.socketpair()
        serving = threading.Thread(
            target=self.tls_proxy.serve, args=(theirs, HOST, 443, dial or self.dial), daemon=True
        )
        serving.start()
        ours.settimeout(30)
        self.trust.check_hostname = name is not None
        try:
            with self.trust.wrap_socket(ours, server_hostname=name) as wrapped:
                yield wrapped
        finally:
            ours.close()
            serving.join(30)
            assert not serving.is_alive()

    @contextmanager
    def listening(self) -> Iterator[int]:
        """A port of the loopback at which the TLS proxy serves whoever comes."""

        def serve(line: socket.socket, port: int) -> None:
            self.tls_proxy.serve(line, HOST, port, self.dial)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]

            def accept() -> None:
                with suppress(OSError):  # it is closed
                    while True:
                        line, _ = listener.accept()
                        threading.Thread(
                            target=self.tls_proxy.serve, args=(line, HOST, port, self.dial), daemon=True
                        ).start()

            accepting = threading.Thread(target=accept, daemon=True)
            accepting.start()
            try:
                yield port
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                accepting.join(10)

    @contextmanager
    def client(self) -> Iterator[http.client.HTTPConnection]:
        """An HTTP client of the machine, connected to `HOST`."""
        with self.line() as line:
            connection = http.client.HTTPConnection(HOST)
            connection.sock = line
            try:
                yield connection
            finally:
                connection.close()

    def raw(self, request: bytes) -> bytes:
        """All that comes back for bytes sent as they are."""
        with self.line() as line:
            line.sendall(request)
            return b"".join(iter(lambda: line.recv(65536), b""))
