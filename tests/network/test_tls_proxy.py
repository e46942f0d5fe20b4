"""Secrets that never enter a machine: where they take the place of their placeholders, and where they do not."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.network.channel.policy_client import Denied
from pyro_mcp.network.http import message_rules
from pyro_mcp.network.http.authority import SUBJECT_HASH, Authority, host_roots, java_store
from pyro_mcp.network.http.tls_socket import handshake
from tests.conftest import ROOT
from tests.network.tls_site import BODY, FOREIGN, HOST, OTHER, SECRET, VALUE, Web

PLACEHOLDER = SECRET.placeholder
BEARER = {"Authorization": f"Bearer {PLACEHOLDER}"}


def openssl(*words: str | Path) -> str:
    """What OpenSSL says."""
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.fixture
def web(tmp_path: Path) -> Web:
    return Web(tmp_path)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def get(web: Web, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    with web.client() as client:
        client.request("GET", path, headers=headers or {})
        answer = client.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def test_a_header_reaches_the_host_with_the_secret_and_comes_back_without(web: Web) -> None:
    status, headers, content = get(web, "/", {**BEARER, "X-Plain": "plain"})
    got = web.asked[0][0]["headers"]
    assert status == 200
    assert (got["Authorization"], got["X-Plain"]) == (f"Bearer {VALUE}", "plain")
    assert got["Host"] == HOST and got["Accept-Encoding"] == "identity"
    assert headers["X-Shown"] == f"Bearer {PLACEHOLDER}"
    assert json.loads(content)["headers"]["Authorization"] == f"Bearer {PLACEHOLDER}"
    assert VALUE.encode() not in content and int(headers["Content-Length"]) == len(content)


def test_basic_authorization_is_replaced_inside_its_base64(web: Web) -> None:
    for password, padded in ((PLACEHOLDER, True), (PLACEHOLDER + "x", False)):
        given_ = basic("user", password) if padded else basic("user", password).rstrip("=")
        _, _, content = get(web, "/", {"Authorization": given_})
        wanted = basic("user", password.replace(PLACEHOLDER, VALUE))
        assert web.asked[-1][0]["headers"]["Authorization"] == wanted
        assert VALUE.encode() not in content and base64.b64encode(VALUE.encode())[:20] not in content


def test_neither_the_address_nor_the_content_of_a_request_is_changed(web: Web) -> None:
    with web.client() as client:
        client.request("POST", f"/gists?q={PLACEHOLDER}", body=f"keep {PLACEHOLDER}".encode(), headers=BEARER)
        assert client.getresponse().status == 200
    asked, content = web.asked[0]
    assert asked["path"] == f"/gists?q={PLACEHOLDER}" and content == f"keep {PLACEHOLDER}".encode()


def test_the_secret_of_another_host_stays_a_placeholder(web: Web) -> None:
    get(web, "/", {"Authorization": f"Bearer {FOREIGN.placeholder}"})
    assert web.asked[0][0]["headers"]["Authorization"] == f"Bearer {FOREIGN.placeholder}"


@pytest.mark.parametrize("path", ["/chunked", "/until-close"])
def test_a_secret_in_an_answer_is_taken_out_however_it_comes(web: Web, path: str) -> None:
    status, _, content = get(web, path)
    assert status == 200 and content.rstrip(b".\n") == b"the secret is " + PLACEHOLDER.encode()


def test_a_redirect_takes_the_placeholder_elsewhere(web: Web) -> None:
    status, headers, _ = get(web, "/redirect")
    assert (status, headers["Location"]) == (302, f"https://{OTHER}/?token={PLACEHOLDER}")


def test_one_connection_serves_many_requests(web: Web) -> None:
    with web.client() as client:
        for count in range(1, 20):
            client.request("POST", "/", body=iter([b"a" * count, b"b"]), headers=BEARER, encode_chunked=True)
            assert json.loads(client.getresponse().read())["size"] == count + 1
    assert web.dialled == 1


def test_requests_that_come_at_once_are_answered_in_order(web: Web) -> None:
    one = f"GET /1 HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {PLACEHOLDER}\r\n\r\n"
    last = f"GET /2 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    answered = web.raw((one + last).encode())
    assert [asked["path"] for asked, _ in web.asked] == ["/1", "/2"]
    assert answered.index(b'"/1"') < answered.index(b'"/2"')


REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def test_an_answer_that_was_cut_off_is_not_passed_on_as_complete(web: Web) -> None:
    def cut(host: ssl.SSLSocket) -> None:
        host.sendall(b"HTTP/1.1 200 OK\r\n\r\nrm -r build")
        socket.socket(fileno=host.detach()).close()  # without a close_notify

    answer = b""
    with web.line(dial=web.dial_to(cut)) as line, suppress(OSError):
        line.sendall(REQUEST)
        while piece := line.recv(65536):
            answer += piece
    assert not answer.endswith(b"0\r\n\r\n")


def test_data_before_an_end_without_close_notify_is_not_lost(web: Web, tmp_path: Path) -> None:
    def answer_and_close(host: ssl.SSLSocket) -> None:
        host.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        socket.socket(fileno=host.detach()).close()
        closed.set()

    closed = threading.Event()
    context = ssl.create_default_context(cafile=str(tmp_path / "roots.pem"))
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    plain = web.dial_to(answer_and_close)()
    wrapped = context.wrap_socket(
        plain, server_hostname=HOST, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    sock = handshake(wrapped, 10)
    sock.write(REQUEST)
    assert closed.wait(10)
    assert sock.read().endswith(b"ok") and sock.ended and sock.unclean_eof
    sock.close()


def test_what_a_host_says_unasked_ends_the_connection_and_is_no_answer(web: Web) -> None:
    sent = 0

    def flood(host: ssl.SSLSocket) -> None:
        nonlocal sent
        host.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        while sent < 1 << 28:
            sent += host.send(b"HTTP/1.1 200 OK\r\n" * 1000)

    with web.line(dial=web.dial_to(flood)) as line:
        line.sendall(REQUEST)
        assert b"".join(iter(lambda: line.recv(65536), b"")).endswith(b"\r\n\r\nok")
    assert sent < 1 << 24


def test_large_bodies_pass_both_ways(web: Web) -> None:
    with web.client() as client:
        client.request("PUT", "/", body=BODY * 4, headers=BEARER)
        assert json.loads(client.getresponse().read())["size"] == len(BODY) * 4
        client.request("GET", "/big")
        assert client.getresponse().read() == BODY


def test_a_host_may_answer_before_it_has_read_everything(web: Web) -> None:
    request = f"POST /early HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000000\r\n\r\n"
    assert web.raw(request.encode() + b"x" * 1000).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_waits_to_be_told_to_go_on_is_told(web: Web) -> None:
    with web.line() as line:
        line.sendall(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode())
        assert line.recv(65536).startswith(b"HTTP/1.1 100 ")
        line.sendall(b"hello")
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert web.asked[0][1] == b"hello"


def test_an_answer_without_content_keeps_its_header(web: Web) -> None:
    with web.client() as client:
        client.request("HEAD", "/")
        answer = client.getresponse()
        assert (answer.status, answer.getheader("Content-Length"), answer.read()) == (200, "12345", b"")
        client.request("GET", "/")
        assert client.getresponse().status == 200


def test_an_old_client_is_served(web: Web) -> None:
    answered = web.raw(f"GET /chunked HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
    head, _, content = answered.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert content == f"the secret is {PLACEHOLDER}.\n".encode()


REFUSED = {
    "another host": (f"GET / HTTP/1.1\r\nHost: {OTHER}\r\n", 421),
    "another port": (f"GET / HTTP/1.1\r\nHost: {HOST}:8443\r\n", 421),
    "no host": ("GET / HTTP/1.0\r\n", 421),
    "a longer host": (f"GET / HTTP/1.1\r\nHost: {HOST}.evil.example\r\n", 421),
    "two hosts": (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {OTHER}\r\n", 400),
    "an absolute address": (f"GET https://{OTHER}/ HTTP/1.1\r\nHost: {HOST}\r\n", 400),
    "a tunnel": (f"CONNECT {OTHER}:443 HTTP/1.1\r\nHost: {HOST}\r\n", 400),
    "an upgrade": (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", 501),
    "two lengths": (f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
    "unequal lengths": (f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\nContent-Length: 4\r\n", 400),
    "an unknown coding": (f"POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
    "a NUL byte": (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX: a\0b\r\n", 400),
    "a bare line feed in a name": (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX\n: b\r\n", 400),
    "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n", 505),
    "no HTTP": ("\x16\x03\x01 whatever\r\n", 400),
    "an endless header": (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {'x' * 200_000}\r\n", 431),
}


@pytest.mark.parametrize(("request_", "status"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_for_the_host_or_not_clear_is_refused(web: Web, request_: str, status: int) -> None:
    answered = web.raw(f"{request_}Authorization: Bearer {PLACEHOLDER}\r\n\r\n".encode())
    assert answered.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"pyro: " in answered and web.asked == [] and web.dialled == 0


@pytest.mark.parametrize("name", [OTHER, None, f"x.{HOST}"])
def test_a_greeting_for_another_name_or_none_ends_the_connection(web: Web, name: str | None) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)), web.line(name):
        pass
    assert web.dialled == 0


def test_only_old_http_is_agreed_on(web: Web) -> None:
    web.trust.set_alpn_protocols(["h2", "http/1.1"])
    with web.line() as line:
        assert line.selected_alpn_protocol() == "http/1.1"


def test_a_host_that_is_not_what_it_says_gets_nothing(web: Web, tmp_path: Path) -> None:
    false = Authority(tmp_path / "false", [HOST]).identities[HOST]
    other = Authority(tmp_path / "world", [HOST, OTHER]).identities[OTHER]
    for web.identity in (false, other):
        status, _, content = get(web, "/", BEARER)
        assert status == 502 and b"is not trusted" in content and web.asked == []


def test_a_host_that_cannot_be_reached_is_said_to_be_so(web: Web) -> None:
    for refusal in (Denied("not in the allow list"), ConnectionRefusedError(111, "Connection refused")):
        web.refusal = refusal
        status, _, content = get(web, "/", BEARER)
        assert status == 502 and str(refusal).encode() in content


@pytest.mark.parametrize(("path", "reason"), [("/br", b"compressed"), ("/garbage", b"not valid HTTP")])
def test_an_answer_that_cannot_be_looked_through_is_withheld(web: Web, path: str, reason: bytes) -> None:
    status, _, content = get(web, path)
    assert status == 502 and reason in content


def test_a_machine_that_goes_away_leaves_nothing_running(web: Web) -> None:
    with web.line() as line:
        line.sendall(f"GET /big HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert line.recv(100)
    with web.line():
        pass  # Web.line waits until the TLS proxy has returned


def test_nothing_has_to_be_read_from_the_disk_later(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "web").mkdir()
    command = ["unshare", "--map-root-user", sys.executable, "-m", "tests.network.confined_tls_proxy"]
    command += [str(tmp_path / "web"), str(tmp_path / "empty")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "200 421 502\n"), done.stderr


def test_500_connections_of_machines_that_read_nothing_take_little_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.network.crowded_tls_proxy", str(tmp_path), "500"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert int(done.stdout) < 150 * 1024


def test_the_authority_signs_for_its_hosts_and_keeps_no_key_of_its_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority", [HOST])
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "host.pem").write_text(authority.identities[HOST])
    assert openssl("verify", "-x509_strict", "-CAfile", tmp_path / "ca.pem", tmp_path / "host.pem").endswith("OK\n")
    assert openssl("x509", "-hash", "-noout", "-in", tmp_path / "ca.pem").strip() == SUBJECT_HASH
    files = [path for path in (tmp_path / "authority").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"ca.pem", HOST}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    again = Authority(tmp_path / "authority", [HOST])
    assert (again.certificate, again.identities) == (authority.certificate, authority.identities)
    twin = Authority(tmp_path / "twin", [HOST])
    twin.adopt(authority)
    assert twin.identities == authority.identities
    assert Authority(tmp_path / "new", [HOST]).certificate != authority.certificate


def test_java_is_given_all_that_the_host_trusts(tmp_path: Path) -> None:
    store = java_store(Authority(tmp_path / "authority", [HOST]).certificate)
    (tmp_path / "store").write_bytes(store)
    held = openssl("pkcs12", "-in", tmp_path / "store", "-nokeys", "-passin", "pass:changeit")
    assert held.count("BEGIN CERTIFICATE") == host_roots().read_text().count("BEGIN CERTIFICATE") + 1


text = st.binary(max_size=60).map(lambda data: bytes(one for one in data if 32 < one < 127))


@given(text, text)
def test_headers_are_changed_only_where_a_placeholder_is(before: bytes, after: bytes) -> None:
    placeholder, value = PLACEHOLDER.encode(), VALUE.encode()
    key = b"aUTHORIZATION"
    assert message_rules.with_secrets([(key, before + after)], [SECRET]) in (
        [(key, before + after)], [(key, (before + after).replace(placeholder, value))]
    )  # fmt: skip
    assert message_rules.with_secrets([(key, before + placeholder + after)], [SECRET]) == [
        (key, before + value + after)
    ]
    other = [(b"X-Api-Key", before + placeholder + after)]
    assert message_rules.with_secrets(other, [SECRET]) == other
    assert message_rules.with_secrets(other, [replace(SECRET, header="x-api-key")]) == [
        (b"X-Api-Key", before + value + after)
    ]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_answer_changes_its_length(noise: bytes, place: int) -> None:
    mask = message_rules.mask_of([SECRET])
    for form in (VALUE.encode(), base64.b64encode(b"x" + VALUE.encode()), VALUE.encode().hex().encode()):
        content = noise[:place] + form + noise[place:]
        shown = mask.bytes(content)
        assert len(shown) == len(content) and form not in shown and VALUE.encode() not in shown


def test_hop_by_hop_fields_end_here() -> None:
    given_ = h11.Request(
        method="GET", target="/", headers=[("Host", HOST), ("Connection", "X-Hop, close"), ("X-Hop", "1"), ("TE", "x")]
    )
    assert message_rules.to_server(given_, [SECRET]).headers.raw_items() == [
        (b"Host", HOST.encode()),
        (b"Accept-Encoding", b"identity"),
    ]
