"""`moot login`: what is stored and where, and what each failure says."""

from __future__ import annotations

import http.server
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moot.client.auth import (
    NotLoggedIn,
    credentials_file,
    load_credential,
    login,
    require_credential,
    store_credential,
    token_advice,
)
from moot.client.errors import NotAuthenticated, ServerFailed, Unreachable
from pyro_mcp.errors import HostNotReady, InvalidRequest, NotFound, PyroError
from tests.moot.client.people import Person
from tests.moot.server.running import free_port


def test_the_token_is_trimmed_checked_and_stored_for_this_user_alone(person: Person) -> None:
    credentials_file().unlink()
    credentials_file().parent.chmod(0o755)
    os.umask(os.umask(0o022))

    done = login(f"  {person.user.token}\n", f"{person.api_url}/")

    assert (done.actor_id, done.display_name, done.api_url) == (person.user.actor_id, "Ada", person.api_url)
    stored = load_credential()
    assert stored is not None and stored.token == person.user.token and stored.user_id == person.user.actor_id
    assert stat.S_IMODE(credentials_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(credentials_file().parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("token", ["", "  ", "convo_abc", "mootup_pat_", "MOOTUP_PAT_x"])
def test_what_is_no_token_is_refused_without_a_call(token: str, home: Path) -> None:
    with pytest.raises(InvalidRequest, match="doesn't look like a Moot personal access token") as raised:
        login(token, "http://127.0.0.1:1")

    assert "convo_key_" in raised.value.hint and "moot server token create" in raised.value.hint
    assert not (home / ".moot").exists()


@pytest.mark.parametrize("token", ["mootup_pat_\u00e9", "mootup_pat_a b", "mootup_pat_a\nb"])
def test_a_token_with_characters_that_no_header_takes_is_refused(token: str, home: Path) -> None:
    with pytest.raises(PyroError, match="characters that no key has"):
        login(token, "http://127.0.0.1:1")
    assert not (home / ".moot").exists()


def test_a_token_that_the_server_does_not_know_is_not_stored(person: Person) -> None:
    before = credentials_file().read_bytes()

    with pytest.raises(NotAuthenticated, match=r"authentication failed \(401\)") as raised:
        login("mootup_pat_unknown", person.api_url)

    assert "moot server token create" in raised.value.hint
    assert credentials_file().read_bytes() == before


def test_the_advice_names_the_server_that_is_asked() -> None:
    assert "https://space.example.org/settings/api-keys" in token_advice("https://space.example.org")
    assert "moot serve" in token_advice("http://127.0.0.1:8000")


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>", ServerFailed),
        (200, b"{}", ServerFailed),
        (200, b"[1]", ServerFailed),
        (302, b"", PyroError),
        (404, b"\xff\x00", NotFound),
        (500, b"oops" * 10_000, ServerFailed),
    ],
)
def test_any_answer_of_another_server_is_a_clear_error(status: int, body: bytes, kind: type[PyroError]) -> None:
    with _answering(status, body) as url, pytest.raises(kind) as raised:
        login("mootup_pat_x", url)
    assert len(raised.value.message) < 1000
    assert not credentials_file().exists()


@pytest.mark.usefixtures("home")
def test_a_server_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(Unreachable, match="cannot reach the space server at") as raised:
        login("mootup_pat_x", f"http://127.0.0.1:{free_port()}")
    assert raised.value.exit_code == HostNotReady.exit_code and "moot serve" in raised.value.hint
    assert "--api-url" in raised.value.hint and "moot.toml" not in raised.value.hint
    with pytest.raises(InvalidRequest, match="--api-url") as wrong:
        login("mootup_pat_x", "127.0.0.1:8000")
    assert "--api-url http" in wrong.value.hint


@pytest.mark.usefixtures("home")
def test_profiles_are_apart_and_any_text_in_them_is_escaped() -> None:
    store_credential("mootup_pat_1", "http://a", 'usr_"\\]\n[x]'.replace("\n", " "))
    store_credential("mootup_pat_2", "http://b", "usr_2", "other.one")
    store_credential("mootup_pat_3", "http://a", "usr_3", "third")
    store_credential("mootup_pat_4", "http://a", "usr_1")

    first, second = load_credential(), load_credential("other.one")
    assert first is not None and (first.token, first.user_id) == ("mootup_pat_4", "usr_1")
    assert second is not None and second.api_url == "http://b"
    assert require_credential(None, "http://b") == second
    assert require_credential(None, "http://a") == first
    assert require_credential("third", "http://a/").user_id == "usr_3"
    with pytest.raises(NotLoggedIn, match="profile 'fourth'"):
        require_credential("fourth")
    with pytest.raises(InvalidRequest, match="not the name of a profile"):
        login("mootup_pat_x", "http://127.0.0.1:1", 'a"]\n')


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("damage", ["[default", "[default]\ntoken = 3\n", "[default]\nx = 1\n", "default = 1\n", "\0"])
def test_a_damaged_file_is_said_and_not_overwritten(damage: str) -> None:
    credentials_file().parent.mkdir()
    credentials_file().write_text(damage)

    with pytest.raises(InvalidRequest, match="credentials"):
        load_credential()
    with pytest.raises(InvalidRequest, match="credentials"):
        store_credential("mootup_pat_x", "http://a", "usr_1")
    assert credentials_file().read_text() == damage
