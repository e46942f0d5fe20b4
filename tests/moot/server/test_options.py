"""The options of `moot serve`: TLS, and what is refused before anything is made."""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select
from websockets.sync.client import connect

from moot.server import settings
from moot.server.database import tables
from moot.server.settings import Limits, limits_in
from pyro_mcp.errors import InvalidRequest
from tests.moot.server.postgresql import new_database
from tests.moot.server.running import ANSWER_SECONDS, Client, Live, Server, free_port, id_of, moot, running
from tests.style.project import ROOT

_NOBODY = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by its own key, and that key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*words, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True, timeout=60)
    return made, key


@pytest.fixture
def server(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[Server]:
    made, key = certificate
    server = Server(free_port(), tmp_path / "data", ("--tls-cert", str(made), "--tls-key", str(key)))
    server.start()
    yield server
    server.kill()


def test_calls_and_sockets_go_over_tls(server: Server, certificate: tuple[Path, Path]) -> None:
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    headers = {"Authorization": f"Bearer {server.token}"}
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=ANSWER_SECONDS, context=trust)
    connection.request("POST", "/api/spaces", b'{"space_id": "vault"}', {**headers, "Content-Type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, b"vault" in answer.read()) == (200, True)
    connection.close()

    address = f"wss://127.0.0.1:{server.port}/api/spaces/vault/ws"
    with connect(address, ssl=trust, additional_headers=headers, proxy=None, open_timeout=ANSWER_SECONDS) as live:
        live.send('{"type": "ack", "sequence": 0}')
        assert Live(live).frame("acknowledged")["sequence"] == 0
    assert any(line == f"serving https://127.0.0.1:{server.port}\n" for line in server.said)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tls-cert", "CERTIFICATE"), "--tls-key"),
        (("--tls-key", "KEY"), "--tls-cert"),
        (("--tls-cert", "missing.pem", "--tls-key", "KEY"), "missing.pem"),
        (("--tls-cert", "KEY", "--tls-key", "KEY"), "certificate"),
        (("--tls-cert", "CERTIFICATE", "--tls-key", "ENCRYPTED"), "without a password"),
        (("--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("--port", "70000"), "70000"),
        (("--port", "x"), "--port"),
        (("--database-url", "mysql://user@host/name"), "mysql"),
        (("--database-url", "nonsense"), "postgresql://"),
        (("--database-url", "postgresql://user:a@b:c/d@host:abc/x"), "special characters"),
        (("--database-url", "sqlite:////tmp/space.db"), "--data-dir"),
        (("--database-url", _NOBODY), "127.0.0.1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_option_is_refused_with_a_hint(
    options: tuple[str, ...], words: str, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    encrypted = tmp_path / "encrypted.pem"
    argv = ["openssl", "pkey", "-in", str(certificate[1]), "-aes256", "-passout", "pass:word", "-out", str(encrypted)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    files = {"CERTIFICATE": str(certificate[0]), "KEY": str(certificate[1]), "ENCRYPTED": str(encrypted)}
    given = [files.get(one, one) for one in options]
    port = () if "--port" in options else ("--port", str(free_port()))

    result = moot("serve", "--data-dir", str(tmp_path / "data"), *port, *given)

    assert result.returncode != 0 and words in result.stderr
    assert "Traceback" not in result.stderr
    assert "mootup_pat_" not in result.stdout


def test_the_port_that_the_system_chooses_is_printed_and_others_are_warned_of(tmp_path: Path) -> None:
    server = Server(0, tmp_path / "data", ("--host", "0.0.0.0"))  # noqa: S104 - what is tested
    server.start()
    try:
        found = re.search(r"serving http://127\.0\.0\.1:(\d+)", "".join(server.said))
        assert found is not None
        assert Client(int(found[1]), server.token).get("/api/actors/me")["actor_type"] == "human"
        assert f"--api-url http://127.0.0.1:{found[1]} " in "".join(server.said)
        assert "unencrypted" in server.log() and "--tls-cert" in server.log()
    finally:
        server.kill()


def test_a_host_of_this_computer_alone_is_not_warned_of(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert "unencrypted" not in server.log()


def test_a_password_may_have_special_characters(postgresql: str, tmp_path: Path) -> None:
    with psycopg.connect(postgresql.replace("NAME", "postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE \"odd@user\" SUPERUSER LOGIN PASSWORD 'a@b:c/d%e'")
    user = re.sub("//[^@]*@", "//odd%40user:a%40b%3Ac%2Fd%25e@", new_database(postgresql))

    with running(tmp_path, "--database-url", user) as server:
        assert server.person.get("/ready") == {"status": "ready"}
        assert "%40b" not in server.log() and "a@b" not in server.log()


def test_the_limits_are_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[limits]\nacknowledge_seconds = 3600\nburst = 5\nrequests_per_second = 1\n")
    with running(tmp_path, "--settings", str(file)) as server:
        space, me = server.space(), id_of(server.person)
        body = {"text": "x", "metadata": {"mentions": [server.person.get("/api/actors/me/agents")[0]["actor_id"]]}}
        server.person.post(f"/api/spaces/{space}/events", body)
        answers = [server.person.call("GET", f"/api/actors/{me}").status for _ in range(5)]
        assert answers[-1] == 429
        with closing(server.opened()) as database:
            row = database.read(lambda tx: tx.rows(select(tables.deliveries))[0])
    waits = datetime.fromisoformat(row.deadline_at) - datetime.fromisoformat(row.queued_at)
    assert 3599 < waits.total_seconds() < 3601


def test_each_limit_has_its_range_and_the_documentation_names_all() -> None:
    text = (ROOT / "docs/space.md").read_text()

    for name, usual in vars(Limits()).items():
        least, most = settings.RANGES[name]
        assert least <= usual <= most and f"`{name}`" in text, name
    assert set(settings.RANGES) == set(vars(Limits()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nburts = 5", "burst"),
        ("[limits]\nburst = 0", "limits.burst: must be between"),
        ("[limits]\nburst = 1.5", "whole"),
        ("[limits]\nburst = true", "limits.burst"),
        ("[limit]", "limits"),
        ("limits = 1", "table"),
        ("[", "correct that line"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_settings_that_means_nothing_is_refused(text: str | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    if text is not None:
        file.write_text(text)

    with pytest.raises(InvalidRequest, match=words):
        limits_in(file)
