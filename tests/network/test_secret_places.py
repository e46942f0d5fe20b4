"""Where a secret of a host is put into a request: Basic for one user name, or a parameter of the query."""

from __future__ import annotations

import base64
from dataclasses import replace

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.network.http import message_rules
from tests.network.tls_site import HOST, SECRET, VALUE

PLACEHOLDER = SECRET.placeholder


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


QUERY = replace(SECRET, query="key")


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (b"/x?key=P", b"/x?key=V"),
        (b"/x?a=1&key=P&b=P", b"/x?a=1&key=V&b=P"),
        (b"/x?k%65y=P", b"/x?k%65y=V"),
        (b"/x?key=P#", b"/x?key=P#"),
        (b"/x?key=xP", b"/x?key=xP"),
        (b"/x?Key=P&keys=P", b"/x?Key=P&keys=P"),
        (b"/P?other=P", b"/P?other=P"),
        (b"/x?a=key=P", b"/x?a=key=P"),
        (b"/x", b"/x"),
    ],
)
def test_a_secret_of_the_query_goes_into_its_parameter_only(target: bytes, wanted: bytes) -> None:
    given_, expected = (
        text.replace(b"P", PLACEHOLDER.encode()).replace(b"V", VALUE.encode()) for text in (target, wanted)
    )
    assert message_rules.with_query(given_, [QUERY]) == expected
    assert message_rules.with_query(given_, [SECRET]) == given_


def test_a_secret_of_the_query_is_encoded_and_its_request_asks_for_no_part() -> None:
    awkward = replace(QUERY, value="a&b=c d#%")
    fields = [("Host", HOST), ("Range", "bytes=0-1"), ("Authorization", f"Bearer {PLACEHOLDER}")]
    sent = message_rules.to_server(h11.Request(method="GET", target=f"/?key={PLACEHOLDER}", headers=fields), [awkward])
    assert sent.target == b"/?key=a%26b%3Dc%20d%23%25"
    assert [key for key, _ in sent.headers] == [b"host", b"authorization", b"accept-encoding"]
    assert PLACEHOLDER.encode() in dict(sent.headers)[b"authorization"]


def test_a_secret_for_basic_is_the_password_of_its_user_name_only() -> None:
    bound = replace(SECRET, basic="me")
    for user, password, known in (
        ("me", PLACEHOLDER, True),
        ("you", PLACEHOLDER, False),
        ("me", f"{PLACEHOLDER}x", False),
    ):
        headers = [(b"authorization", basic(user, password).encode())]
        wanted = basic(user, VALUE).encode() if known else headers[0][1]
        assert message_rules.with_secrets(headers, [bound]) == [(b"authorization", wanted)]
    bearer = [(b"authorization", f"Bearer {PLACEHOLDER}".encode()), (b"x-key", PLACEHOLDER.encode())]
    assert message_rules.with_secrets(bearer, [bound]) == bearer


@given(st.binary(max_size=60))
def test_any_query_is_passed_on_or_gets_the_secret_once_for_each_placeholder(query: bytes) -> None:
    target = b"/?" + query
    assert message_rules.with_query(target, [QUERY]) == target
    changed = message_rules.with_query(target + b"&key=" + PLACEHOLDER.encode(), [QUERY])
    assert changed == target + b"&key=" + VALUE.encode()
