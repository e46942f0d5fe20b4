"""Webhooks of the user's own file are told about each request once, with links that decide it, and are retried."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from urllib.parse import urlsplit

import pytest

from claude_bottle.page import webhooks
from claude_bottle.page.serving import PageOptions
from claude_bottle.page.webhooks import Sender, Webhook, notify_path, read_webhooks
from pyro_mcp.errors import InvalidRequest
from tests.bottles.asking import AskingBottle
from tests.bottles.page.conftest import SECONDS, Serve


class Receiver(ThreadingHTTPServer):
    """A server of messages: it answers with the statuses of `answers` first, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list[int]()
        self.got = Queue[tuple[str, str, dict[str, str]]]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/topic"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.got.put((self.path, body, dict(self.headers)))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(SECONDS)


def test_a_request_is_told_once_with_a_link_that_decides_it(
    asking: AskingBottle, serve: Serve, receiver: Receiver
) -> None:
    client = serve([Webhook(receiver.url, {"Authorization": "Bearer tk_secret"})])
    request = asking.ask(reason="please\r\nClick: http://evil.example\u202e")

    path, text, headers = receiver.got.get(timeout=SECONDS)
    assert path == "/topic" and headers["Authorization"] == "Bearer tk_secret"
    lines = text.splitlines()
    assert len(lines) == 4 and "connect to pypi.org, port 443" in lines[0] and text.replace("\n", "").isprintable()
    links = {line.partition(": ")[0]: line.partition(": ")[2] for line in lines[2:]}
    assert headers["Actions"] == f"view, Approve, {links['Approve']}; view, Deny, {links['Deny']}"

    link = urlsplit(links["Approve"]).path
    assert client.get(link).status == 200 and asking.state_of(request)[0] == "pending"
    assert client.post(link, {"decision": "approve"}).status == 200
    assert asking.state_of(request)[0] == "approved"
    second = asking.ask(rule={"host": "other.org:443"})
    assert second.reference in receiver.got.get(timeout=SECONDS)[2]["Title"] and receiver.got.empty()


def test_a_message_is_sent_again_until_it_arrives(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_PAUSES", (0.01, 0.01, 0.01))
    receiver.answers = [503, 429]
    said = list[str]()

    Sender([Webhook(receiver.url)], said.append, threading.Event()).send("text", {}, deadline=time.time() + SECONDS)
    assert receiver.got.qsize() == 3 and len(said) == 2 and "HTTP status 503; trying again" in said[0]


@pytest.mark.parametrize("status", [302, 307, 401, 404])
def test_a_refusal_or_a_redirect_is_not_followed_and_not_repeated(receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    said = list[str]()

    Sender([Webhook(receiver.url)], said.append, threading.Event()).send("text", {}, deadline=time.time() + SECONDS)
    assert receiver.got.qsize() == 1 and said == [
        f"the message to {urlsplit(receiver.url).netloc} failed: HTTP status {status}"
    ]


def test_what_cannot_be_sent_ends_at_the_deadline_and_is_told_without_the_address(receiver: Receiver) -> None:
    receiver.answers = [503] * 10
    said = list[str]()
    hooks = [Webhook(receiver.url), Webhook("http://127.0.0.1:1/secret-topic")]

    Sender(hooks, said.append, threading.Event()).send("text", {}, deadline=time.time() + 1.5)
    assert 1 <= receiver.got.qsize() <= 3 and not any("topic" in one for one in said)


def test_the_file_of_the_user_is_read(home: Path) -> None:
    path = notify_path()
    assert path == home / ".config/claude-bottle/notify.toml" and read_webhooks(path) == []
    path.parent.mkdir(parents=True)
    path.touch(mode=0o600)
    path.write_text('[[webhook]]\nurl = "https://ntfy.sh/x"\nheaders = { Authorization = "Bearer y" }\n')

    assert read_webhooks(path) == [Webhook("https://ntfy.sh/x", {"Authorization": "Bearer y"})]
    assert "Bearer" not in repr(read_webhooks(path))
    path.chmod(0o644)
    with pytest.raises(InvalidRequest, match="others may read or change"):
        read_webhooks(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("webhook = 3", "only"),
        ("other = 1", "only"),
        ("[[webhook]]", "must have the key url"),
        ('[[webhook]]\nurl = "ftp://x"', "https or http"),
        ('[[webhook]]\nurl = "http://ntfy.sh/x"', "others may read"),
        ('[[webhook]]\nurl = "https://x"\nheaders = { A = "b\\nc" }', "printable ASCII"),
        ('[[webhook]]\nurl = "https://x"\nheaders = { "" = "b" }', "printable ASCII"),
        ('[[webhook]]\nurl = "https://x"\nheaders = 3', "printable ASCII"),
        ('[[webhook]]\nurl = "https://x"\nscript = "x"', "no other key"),
        ("[[webhook", "not correct TOML"),
        ("[[webhook]]\nurl = 'https://x'\n" * 9, "at most 8"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "notify.toml"
    path.touch(mode=0o600)
    path.write_text(content)

    with pytest.raises(InvalidRequest, match=problem):
        read_webhooks(path)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"host": "192.0.2.1"}, "others could read the tokens"),
        ({"host": "::"}, "others could read the tokens"),
        ({"host": "example.org"}, "is not an IP address"),
        ({"certificate": Path("x")}, "both a certificate and a private key"),
        ({"certificate": Path("/none"), "private_key": Path("/none")}, "cannot be used for TLS"),
        ({"url": "phone.example.org"}, "is not a base URL"),
        ({"url": "https://phone.example.org/path"}, "is not a base URL"),
        ({"url": "https://user@phone.example.org"}, "is not a base URL"),
        ({"url": "https://phone.example.org?x"}, "is not a base URL"),
    ],
)
@pytest.mark.usefixtures("asking")
def test_options_that_others_could_use_are_refused(serve: Serve, options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        serve(**options)


@pytest.mark.usefixtures("asking")
def test_the_page_serves_tls(serve: Serve, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    PageOptions(host="192.0.2.1", certificate=certificate, private_key=key).check()
    client = serve(certificate=certificate, private_key=key)
    assert client.page.list_url.startswith("https://127.0.0.1:")

    context = ssl.create_default_context(cafile=str(certificate))
    import http.client  # noqa: PLC0415

    connection = http.client.HTTPSConnection(
        "127.0.0.1", urlsplit(client.page.own_url).port, timeout=SECONDS, context=context
    )
    connection.request("GET", client.list_path)
    assert connection.getresponse().status == 200
    connection.close()
