"""A secret for one host is checked where it is made, whichever backend makes it."""

from __future__ import annotations

import pytest

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.network import HostSecret

VALUE = "sk-live-0123456789"
GOOD = {"name": "API", "placeholder": "pyro-secret-API-01234567", "value": VALUE, "host": "api.example.com"}


def test_a_good_secret_is_for_the_authorization_field_unless_it_names_another() -> None:
    assert HostSecret(**GOOD).header == "Authorization"
    assert HostSecret(**GOOD, header="X-Api-Key").header == "X-Api-Key"


def test_a_secret_has_one_place_in_a_request() -> None:
    assert HostSecret(**GOOD).in_header
    assert not HostSecret(**GOOD, basic="").in_header and not HostSecret(**GOOD, query="key").in_header
    for places in ({"basic": "me", "query": "key"}, {"header": "X-Key", "basic": "me"}, {"header": "X", "query": "k"}):
        with pytest.raises(InvalidRequest, match="more than one place"):
            HostSecret(**GOOD, **places)


@pytest.mark.parametrize(
    ("part", "value", "why"),
    [
        *(("name", name, "cannot name a secret") for name in ("", "1ST", "A-B", "A\n", "x" * 129)),
        *(
            ("host", host, "one host")
            for host in ("", "*.example.com", "example", "10.0.0.1", "api.example.com:443", "API.example.com",
                         "api.example.com.", "a..example", "a.example/x", "a.example\n")
        ),
        *(
            ("header", header, "header field")
            for header in ("", "Host", "content-length", "X Key", "X-Key:", "X-Key\r\nY", "x" * 65)
        ),
        *(("basic", name, "user name") for name in ("a:b", " a", "a\n", "\xe9")),
        *(("query", name, "parameter") for name in ("", "a b", "a&b", "a=b", "\xe9", "x" * 65)),
        ("value", "", "is empty"),
        *(("value", value, "HTTP header") for value in ("two\nlines", " padded", "caf\xe9", "nul\0", "\udcff")),
        ("value", "x" * 8193, "larger than 8 KiB"),
        *(
            ("placeholder", text, "placeholder")
            for text in ("", "short", "with a space", "not\nprintable", VALUE, VALUE[:12], f"before-{VALUE}")
        ),
    ],
)  # fmt: skip
def test_a_part_that_cannot_work_is_refused_and_the_value_is_not_shown(part: str, value: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as caught:
        HostSecret(**{**GOOD, part: value})
    assert VALUE not in str(caught.value)
    assert caught.value.hint or part == "value"
