"""The npm that the set-up scripts call."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.style.project import ROOT

PACKAGE = {
    "name": "demo",
    "dist-tags": {"latest": "1.2.3"},
    "versions": {"1.2.3": {"name": "demo", "version": "1.2.3"}},
}


class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = json.dumps(PACKAGE).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is given
        pass


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, as a proxy that inspects TLS would have."""
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=registry",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    made.write_bytes(made.read_bytes() + key.read_bytes())
    return made


@pytest.fixture
def registry(certificate: Path) -> Iterator[str]:
    """The address of an npm registry that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(timeout=10)


def view(program: str | Path, registry: str, home: Path, more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Ask the registry for the newest version of a package, in an otherwise empty environment."""
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), **more}
    words = ["view", "demo", "version", "--registry", registry, "--fetch-retries=0", "--globalconfig=/dev/null"]
    return subprocess.run([program, *words], env=environ, check=False, capture_output=True, text=True, timeout=60)


def test_npm_trusts_the_certificates_of_the_machine(registry: str, certificate: Path, tmp_path: Path) -> None:
    store = {"SSL_CERT_FILE": str(certificate)}

    assert view("npm", registry, tmp_path, store).returncode != 0
    asked = view(ROOT / "scripts/npm", registry, tmp_path, store)
    assert (asked.returncode, asked.stdout) == (0, "1.2.3\n"), asked.stderr
