"""The page decides only for whoever holds a fresh token, confirms with a form of the page, and means that request."""

from __future__ import annotations

import re
import socket
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from claude_bottle.audit import user_journal
from claude_bottle.bottles import Bottles
from claude_bottle.page import serving
from claude_bottle.page.safeguards import LARGEST_BODY, Rates
from claude_bottle.page.tokens import Tokens, tokens_path
from tests.bottles.asking import AskingBottle
from tests.bottles.page.conftest import Answer, Client, Serve

APPROVE, DENY = {"decision": "approve"}, {"decision": "deny"}


def test_a_request_is_approved_by_its_question_and_no_sooner(client: Client, asking: AskingBottle) -> None:
    request = asking.ask(reason="to <install> & use it")
    listed = client.get(client.list_path)
    assert (
        listed.status == 200 and request.reference in listed.text and "to &lt;install&gt; &amp; use it" in listed.text
    )

    path = client.token_for(request.reference, "approve")
    question = client.get(path)
    assert question.status == 200 and question.links == [path]
    assert "{&quot;host&quot;: &quot;pypi.org:443&quot;}" in question.text and asking.slug in question.text
    assert asking.state_of(request)[0] == "pending"

    done = client.post(path, APPROVE)
    assert done.status == 200 and "Approved" in done.text and "pypi.org" in done.text
    state, who = asking.state_of(request)
    assert state == "approved" and re.fullmatch("person .* by the page", who)
    assert [one.who for one in user_journal().entries(kind="approval")][-1] == who


def test_a_request_is_denied(client: Client, asking: AskingBottle) -> None:
    request = asking.ask()

    assert client.post(client.token_for(request.reference, "deny"), DENY).status == 200
    assert asking.state_of(request)[0] == "denied"


def test_the_question_about_a_push_shows_its_log_and_changes(client: Client, asking: AskingBottle) -> None:
    request = asking.hold_push(log="commit <1>", diff="-old\n+new\x1b[2J\u202e")
    path = client.token_for(request.reference, "approve")

    text = client.get(path).text
    assert "commit &lt;1&gt;" in text and "-old\n+new\\x1b[2J\\u202e" in text and "NOTE a hook" in text
    assert client.post(path, APPROVE).status == 200 and asking.state_of(request)[0] == "approved"


def test_a_push_that_cannot_be_shown_is_not_asked_about(client: Client, asking: AskingBottle) -> None:
    request = asking.ask("push", {"remote": "origin", "url": "x", "updates": []})

    answer = client.get(client.token_for(request.reference, "approve"))
    assert answer.status == 409 and answer.links == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_decides_nothing_however_often(client: Client, asking: AskingBottle, method: str) -> None:
    request = asking.ask()
    path = client.token_for(request.reference, "approve")

    for _ in range(3):
        assert client.get(path, method).status == 200
        assert client.get(f"{path}?decision=approve", method).status == 200
    assert asking.state_of(request)[0] == "pending"
    assert client.post(path, APPROVE).status == 200


def test_a_token_is_used_once(client: Client, asking: AskingBottle) -> None:
    path = client.token_for(asking.ask().reference, "approve")

    assert [client.post(path, APPROVE).status for _ in range(3)] == [200, 404, 404]
    assert client.get(path).status == 404


def test_of_many_posts_at_once_one_decides(client: Client, asking: AskingBottle) -> None:
    path = client.token_for(asking.ask().reference, "approve")
    answers = list[Answer]()
    threads = [threading.Thread(target=lambda: answers.append(client.post(path, APPROVE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(one.status for one in answers)[:2] in ([200, 404], [200, 410]) and len(answers) == 8
    assert len([one for one in user_journal().entries(kind="approval") if one.decision == "approved"]) == 1


def test_a_token_decides_only_as_it_was_made_for(client: Client, asking: AskingBottle) -> None:
    request = asking.ask()
    path = client.token_for(request.reference, "deny")

    for fields in (APPROVE, {}, {"decision": "yes"}, b"decision=deny&decision=approve", b"\xff", b"decision=%ff"):
        assert client.post(path, fields).status == 404
    assert asking.state_of(request)[0] == "pending"


def test_a_forged_token_is_refused(client: Client, asking: AskingBottle) -> None:
    request, other = asking.ask(), asking.ask(rule={"host": "other.org:443"})
    path, of_other = (client.token_for(one.reference, "approve") for one in (request, other))
    mixed = f"{path.partition('.')[0]}.{of_other.partition('.')[2]}"
    flipped = path[:-2] + ("A" if path[-2] != "A" else "B") + path[-1]

    for forged in (mixed, flipped, path[:-1], path + "A", path.upper(), "/t/", "/t/x", "/t/" + "a" * 3000, "/t/%00"):
        assert client.post(forged, APPROVE).status == 404
    assert {asking.state_of(one)[0] for one in (request, other)} == {"pending"}


def test_a_token_ends_with_its_request(client: Client, asking: AskingBottle) -> None:
    decided, expired = asking.ask(), asking.ask(rule={"host": "other.org:443"})
    paths = [client.token_for(one.reference, "approve") for one in (decided, expired)]
    Bottles().deny(decided.reference)
    with sqlite3.connect(tokens_path()) as database:
        database.execute("UPDATE tokens SET expires_at = ? WHERE reference = ?", (time.time() - 1, expired.reference))
    database.close()

    assert [client.get(path).status for path in paths] == [410, 404]
    assert [client.post(path, APPROVE).status for path in paths] == [410, 404]
    assert asking.state_of(decided)[0] == "denied" and asking.state_of(expired)[0] == "pending"


def test_an_approval_after_the_manifest_changed_allows_nothing(client: Client, asking: AskingBottle) -> None:
    request = asking.ask()
    path = client.token_for(request.reference, "approve")
    Path(asking.manifest).write_text("# changed\n")

    answer = client.post(path, APPROVE)
    assert answer.status == 409 and "has changed" in answer.text
    assert asking.state_of(request)[0] == "void"


def test_a_token_for_the_same_number_with_another_rule_is_refused(client: Client, asking: AskingBottle) -> None:
    request = asking.ask()
    path = client.token_for(request.reference, "approve")
    with sqlite3.connect(tokens_path()) as database:
        database.execute("UPDATE tokens SET digest = ?", ("0" * 64,))
    database.close()

    assert client.post(path, APPROVE).status == 410
    assert asking.state_of(request)[0] == "pending"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "(none)"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Content_Type": "text/plain"}, 403),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": ""}, 421),
    ],
)
def test_a_post_from_elsewhere_decides_nothing(
    client: Client, asking: AskingBottle, headers: dict[str, str], status: int
) -> None:
    request = asking.ask()
    path = client.token_for(request.reference, "approve")

    assert client.post(path, APPROVE, **headers).status == status
    assert asking.state_of(request)[0] == "pending"
    assert client.post(path, APPROVE, Sec_Fetch_Site="same-origin").status == 200


def test_a_name_that_was_bound_to_this_host_reads_nothing(client: Client, asking: AskingBottle) -> None:
    asking.ask()

    answer = client.get(client.list_path, Host=f"evil.example:{client.page.own_url.rpartition(':')[2]}")
    assert answer.status == 421 and "pypi.org" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(client: Client, asking: AskingBottle, method: str) -> None:
    path = client.token_for(asking.ask().reference, "approve")

    assert client.get(path, method).status == 405


def test_a_large_request_is_refused(client: Client, asking: AskingBottle) -> None:
    request = asking.ask()
    path = client.token_for(request.reference, "approve")

    assert client.post(path, b"decision=approve&x=" + b"a" * LARGEST_BODY).status == 413
    assert client.get("/" + "a" * 30_000).status in (400, 414, 421, 404)
    assert client.send(
        "POST",
        path,
        b"1001\r\n" + b"a" * 4097 + b"\r\n0\r\n\r\n",
        {"Origin": client.origin, "Content-Type": "application/x-www-form-urlencoded", "Transfer-Encoding": "chunked"},
    ).status in (400, 413)
    assert asking.state_of(request)[0] == "pending"


def test_a_client_that_asks_too_often_is_refused_for_a_while(client: Client) -> None:
    statuses = [client.get("/t/x").status]
    while statuses[-1] == 404 and len(statuses) < 5000:
        statuses.append(client.get("/t/x").status)
    assert statuses[-1] == 429 and len(statuses) > 60


def test_a_stranger_of_the_same_address_cannot_use_up_the_rate_of_a_person(
    client: Client, asking: AskingBottle
) -> None:
    request = asking.ask()
    path = client.token_for(request.reference, "deny")
    strange = f"{path[:-1]}{'A' if path[-1] != 'A' else 'B'}"
    statuses = [client.get(strange).status]
    while statuses[-1] != 429 and len(statuses) < 5000:
        statuses.append(client.get(strange).status)

    assert client.get(strange).status == client.get("/list/x").status == 429
    assert client.get(client.list_path).status == client.get(path).status == 200
    assert client.post(path, DENY).status == 200 and asking.state_of(request)[0] == "denied"
    assert client.get(path).status in (404, 429)


def test_a_person_has_a_rate_too(client: Client) -> None:
    statuses = [client.get(client.list_path).status]
    while statuses[-1] == 200 and len(statuses) < 5000:
        statuses.append(client.get(client.list_path).status)
    assert statuses[-1] == 429 and len(statuses) > 120


def test_the_rates_of_clients_are_apart_and_come_back() -> None:
    now = [0.0]
    rates = Rates(lambda: now[0])

    assert sum(rates.allow("a") for _ in range(200)) == 60
    assert rates.allow("b") and not rates.allow("a")
    now[0] = 10.0
    assert sum(rates.allow("a") for _ in range(200)) == 20
    for number in range(5000):
        rates.allow(str(number))
    assert len(rates._left) == 1024


@pytest.mark.parametrize("path", ["/", "/list/", "/list/wrong", "/favicon.ico", "/t/x"])
def test_every_answer_forbids_scripts_frames_caches_and_referrers(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status == 404 and "pypi.org" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store" and answer.headers["referrer-policy"] == "same-origin"
    assert "server" not in answer.headers and "<script" not in answer.text


def test_the_list_needs_its_key(client: Client, asking: AskingBottle) -> None:
    request = asking.ask()

    assert client.post("/list/wrong", {"reference": request.reference, **APPROVE}).status == 404
    assert client.post(client.list_path, {"reference": "r9-00000000", **APPROVE}).status == 410
    assert client.post(client.list_path, {"reference": request.reference, "decision": "maybe"}).status == 404


def test_tokens_are_stored_as_hashes(client: Client, asking: AskingBottle) -> None:
    path = client.token_for(asking.ask().reference, "approve")

    content = b"".join(file.read_bytes() for file in tokens_path().parent.iterdir())
    assert path.partition(".")[2].encode() not in content and path[3:19].encode() in content
    assert tokens_path().stat().st_mode & 0o077 == 0 and tokens_path().parent.stat().st_mode & 0o077 == 0


def test_tokens_outlive_the_page_but_its_key_does_not(client: Client, asking: AskingBottle, serve: Serve) -> None:
    request = asking.ask()
    path = client.token_for(request.reference, "approve")
    later = serve()

    assert later.get(client.list_path).status == 404
    assert later.post(path, APPROVE).status == 200
    assert asking.state_of(request)[0] == "approved"


def test_expired_tokens_are_forgotten(asking: AskingBottle) -> None:
    asking.ask()
    (request,) = Bottles().pending()["requests"]
    now = [0.0]
    tokens = Tokens(tokens_path(), lambda: now[0])
    first = tokens.issue(request, "approve")
    assert tokens.find(first) is not None
    now[0] = request["expires_at"]
    assert tokens.find(first) is None
    tokens.issue(request, "deny")
    assert len(tokens._database.rows("SELECT * FROM tokens")) == 1
    tokens.close()


def test_a_base_url_is_a_host_and_an_origin_too(asking: AskingBottle, serve: Serve) -> None:
    client = serve(url="https://Phone.example.org:443/")
    request = asking.ask()
    assert client.page.list_url.startswith("https://phone.example.org/list/")

    path = client.token_for(request.reference, "approve")
    assert client.post(path, APPROVE, Host="phone.example.org", Origin="https://phone.example.org").status == 200
    assert asking.state_of(request)[0] == "approved"


def test_a_client_that_never_finishes_its_request_is_cut_off(
    asking: AskingBottle, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asking
    monkeypatch.setattr(serving, "_CONNECTION_SECONDS", 0.2)
    port = int(serve().page.own_url.rpartition(":")[2])

    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"GET /t/x HTTP/1.1\r\nHost: ")
        with suppress(ConnectionResetError):
            assert slow.recv(1) == b""
