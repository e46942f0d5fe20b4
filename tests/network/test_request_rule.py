"""The HTTP requests that an entry of an allow list allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.network import Rules
from pyro_mcp.network.policy.request_rule import RequestRule, UnclearPath, plain_path, request_refusal, shown_path


def refusal(rule: RequestRule, method: str, target: bytes) -> str:
    return request_refusal([rule], method, target)


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("/v1/*", [b"/v1/", b"/v1/messages", b"/v1/a/b?x=/../y", b"/v1/%61"], [b"/v1", b"/v2/", b"/V1/x", b"/v11/x"]),
        ("/repos/*/issues", [b"/repos/me/issues", b"/repos//issues"[:0] + b"/repos/a-b/issues?q"],
         [b"/repos/a/b/issues", b"/repos/me/issues/1", b"/repos/me%2fx/issues"]),
        ("/exact", [b"/exact", b"/exact?query", b"/ex%61ct"], [b"/exact/", b"/exact;x=1", b"/exactly"]),
        ("/a*z", [b"/az", b"/abcz"], [b"/a/z", b"/abz/"]),
        ("/*", [b"/", b"/anything/at/all"], [b"*", b"https://a.test/", b""]),
    ],
)  # fmt: skip
def test_a_path_fits_its_pattern_only(pattern: str, fitting: list[bytes], others: list[bytes]) -> None:
    rule = RequestRule(paths=(pattern,))

    assert [target for target in fitting if refusal(rule, "GET", target)] == []
    assert [target for target in others if not refusal(rule, "GET", target)] == []


@pytest.mark.parametrize(
    "target",
    [b"/v1/../admin", b"/v1/..", b"/v1/./x", b"/v1/%2e%2e/admin", b"/v1/.%2E/admin", b"/v1/..;/admin", b"/v1/..;x=1/a",
     b"/v1/%2fadmin", b"/v1/%5c..%5cadmin", b"/v1/x\\..\\y", b"/v1//admin", b"/v1/%252e%252e/admin", b"/v1/%00",
     b"/v1/%0d%0aX", b"/v1/%zz", b"/v1/%2", b"/v1/x#/../y", b"/v1/\xe9", b"/v1/ x", b"//v1/x", b"/v1/.. /x",
     b"/v1/%2e%2e%3b/admin", b"/v1/%c0%ae%c0%ae/admin", b"/v1/%e0%80%ae", b"/v1/%ff", b"/v1/%ed%a0%80"],
)  # fmt: skip
def test_a_path_that_servers_read_in_different_ways_is_refused(target: bytes) -> None:
    assert refusal(RequestRule(paths=("/v1/*",)), "GET", target)


def test_a_path_in_utf_8_fits_its_pattern_in_any_spelling() -> None:
    rule = RequestRule(paths=("/v1/%C3%A9/*",))

    assert not refusal(rule, "GET", b"/v1/%c3%a9/x%e2%82%ac") and refusal(rule, "GET", b"/v1/%e9/x")


def test_a_method_is_allowed_as_it_is_written_and_no_other() -> None:
    rule = RequestRule(methods=("GET", "POST"))

    assert [
        method for method in ("GET", "POST", "HEAD", "get", "DELETE", "PATCH", "") if not refusal(rule, method, b"/")
    ] == ["GET", "POST"]


def test_of_several_rules_one_suffices_and_the_refusal_names_them() -> None:
    rules = [RequestRule(("GET",), ("/a/*",)), RequestRule(("POST",), ("/b",))]

    assert not request_refusal(rules, "GET", b"/a/x") and not request_refusal(rules, "POST", b"/b")
    why = request_refusal(rules, "POST", b"/a/x?token=hidden")
    assert why == "POST /a/x is not allowed, only GET /a/*; POST /b"
    assert not request_refusal([*rules, RequestRule()], "DELETE", b"/v1/../x")


@pytest.mark.parametrize(
    "entry",
    [
        {"host": "a.test", "methods": []},
        {"host": "a.test", "paths": []},
        {"host": "a.test", "methods": "GET"},
        {"host": "a.test", "methods": ["get"]},
        {"host": "a.test", "methods": ["CONNECT"]},
        {"host": "a.test", "methods": ["GET "]},
        {"host": "a.test", "paths": ["v1/*"]},
        {"host": "a.test", "paths": ["/a/../b"]},
        {"host": "a.test", "paths": ["/a//b"]},
        {"host": "a.test", "paths": ["/**"]},
        {"host": "a.test", "paths": ["/a*b*c"]},
        {"host": "a.test", "paths": ["/a?x=1"]},
        {"host": "a.test", "paths": ["/a%2fb"]},
        {"host": "a.test", "paths": ["/" + "a" * 2000]},
        {"host": "a.test", "path": ["/a"]},
        {"host": "*.a.test", "paths": ["/a"]},
        {"host": "a.test:*", "methods": ["GET"]},
        {"host": "10.0.0.1", "methods": ["GET"]},
        {"host": "a.test", "upstream": "http://127.0.0.1"},
        {"host": "a.test", "upstream": "http://127.0.0.1:0"},
        {"host": "a.test", "upstream": "http://127.0.0.1:65536"},
        {"host": "a.test", "upstream": "https://127.0.0.1:80"},
        {"host": "a.test", "upstream": "http://127.0.0.2:80"},
        {"host": "a.test", "upstream": "http://127.0.0.1:80/path"},
        {"host": "a.test", "upstream": "http://[::1]:80"},
        {"host": "a.test", "upstream": "http://10.0.0.1:80"},
        {"host": "a.test", "upstream": "http://127.0.0.1:80@evil.test:80"},
        {"host": "a.test", "upstream": "http://127.0.0.1:\u0668"},
        {"host": "a.test", "upstream": 8080},
        {"host": "localhost", "upstream": "http://127.0.0.1:80"},
        {"methods": ["GET"]},
        {"host": 5},
        5,
        ["a.test"],
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused(entry: object) -> None:
    with pytest.raises(InvalidRequest):
        Rules((entry,))  # type: ignore[arg-type]


def test_an_unknown_key_has_its_near_match() -> None:
    with pytest.raises(InvalidRequest, match="'path' is not a key") as caught:
        Rules(({"host": "a.test", "path": ["/a"]},))
    assert "'paths'" in caught.value.hint


def test_entries_of_one_host_add_up_and_its_upstream_decides_for_its_port() -> None:
    limited = {"host": "a.test", "methods": ["GET"]}
    led = {"host": "a.test", "upstream": "http://127.0.0.1:8080"}

    assert Rules((limited,)).request_rules("a.test", 443) == (RequestRule(("GET",)),)
    assert Rules((limited, "a.test")).request_rules("a.test", 443) == ()
    assert Rules((limited, "*.test")).request_rules("a.test", 443) == ()
    assert Rules((limited, "a.test:8443")).request_rules("a.test", 443) == (RequestRule(("GET",)),)
    rules = Rules(("a.test", {**led, "methods": ["POST"]}))
    assert (rules.upstream("a.test", 443), rules.upstream("a.test", 8080)) == (8080, None)
    assert rules.request_rules("a.test", 443) == (RequestRule(("POST",)),)
    assert rules.terminated_hosts == ("a.test",) and rules.is_local("a.test") and not rules.is_local("b.a.test")
    assert Rules.from_json(rules.to_json()) == rules
    assert Rules(({"host": "a.test:8000", "upstream": "http://localhost:8080/"},)).terminated_hosts == ()
    with pytest.raises(InvalidRequest, match="two upstreams"):
        Rules((led, {"host": "a.test:443", "upstream": "http://127.0.0.1:8081"}))
    assert Rules(({"host": "a.test"},)).allow == ("a.test",)


@pytest.mark.parametrize("host", ["a.test", "A.test.:80", "a.test:443"])
def test_limits_beside_an_upstream_without_them_are_refused(host: str) -> None:
    led = {"host": "a.test", "upstream": "http://127.0.0.1:8080"}

    with pytest.raises(InvalidRequest, match="upstream"):
        Rules((led, {"host": host, "methods": ["GET"]}))
    assert Rules((led, {"host": "a.test:8443", "methods": ["GET"]})).request_rules("a.test", 80) == ()


@given(st.binary(max_size=80))
def test_any_path_has_one_plain_form_or_is_unclear(path: bytes) -> None:
    try:
        plain = plain_path(b"/" + path)
    except UnclearPath:
        return
    assert plain.startswith("/") and "//" not in plain and "%" not in plain
    assert not {".", ".."} & {part.partition(";")[0] for part in plain.split("/")}
    assert plain.count("/") == path.count(b"/") + 1


@given(st.text(alphabet="/.%2eEfF5c;ax", max_size=30))
def test_no_spelling_leads_out_of_the_allowed_folder(rest: str) -> None:
    import posixpath  # noqa: PLC0415
    from urllib.parse import unquote  # noqa: PLC0415

    if refusal(RequestRule(paths=("/v1/*",)), "GET", f"/v1/{rest}".encode()):
        return
    read = f"/v1/{rest}"
    for _ in range(3):  # a server that decodes once, twice, or not at all
        without = "/".join(part.partition(";")[0] for part in read.split("/"))
        assert posixpath.normpath(read).startswith("/v1") and posixpath.normpath(without).startswith("/v1")
        read = unquote(read)


@given(st.text(max_size=400))
def test_what_is_shown_of_a_path_is_plain_and_has_no_query(path: str) -> None:
    shown = shown_path(path)

    assert len(shown) <= 200 and shown.isascii() and "?" not in shown and (shown == "" or shown.isprintable())


@given(st.lists(st.sampled_from(["/a", "*", "/", "b", "%61", "-"]), min_size=1, max_size=8), st.binary(max_size=30))
def test_any_pattern_is_matched_or_refused_without_an_error(parts: list[str], target: bytes) -> None:
    try:
        rule = RequestRule(paths=("/" + "".join(parts),))
    except InvalidRequest:
        return
    refusal(rule, "GET", b"/" + target)
