"""Names in one spelling, and what an allow list means."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.network.addressing.host_names import BadName, canonical_name, name_of_labels, shown_name
from pyro_mcp.network.policy.allow_list import AllowGiven, parse_entry
from pyro_mcp.network.policy.host_secret import HostSecret
from pyro_mcp.network.policy.rules import Rules


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("1.example", "1.example"),
        ("a" * 63 + ".b", "a" * 63 + ".b"),
    ],
)
def test_a_name_has_one_spelling(text: str, name: str) -> None:
    assert canonical_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "example.com..", "127.1", "0x7f.1", "017700000001", "2130706433", "1.0x7f000001", "0x", "1.2.3.4",
     "localhost", "x.LOCALHOST.", "localhost.localdomain", "ip6-localhost", "a b.c", "a\0.b", "a\n.b", "-a.b", "a-.b",
     "a" * 64 + ".b", "a." * 127 + "b", "a/b.c", "[::1]", "a。b。1"],
)  # fmt: skip
def test_what_names_no_host_or_could_be_a_number_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        canonical_name(text)


@given(st.text(max_size=80))
def test_a_spelling_is_its_own_spelling_and_plain(text: str) -> None:
    try:
        name = canonical_name(text)
    except BadName:
        return
    assert canonical_name(name) == name == name.lower()
    assert name.isascii() and name.isprintable() and not name.endswith(".")


@pytest.mark.parametrize("labels", [[b"evil.test\0", b"example"], [b"example.com"], [b"\xff"], [], [b"a", b"", b"b"]])
def test_a_label_that_hides_another_name_is_refused(labels: list[bytes]) -> None:
    with pytest.raises(BadName):
        name_of_labels(labels)


@given(st.text(max_size=600))
def test_what_the_log_shows_of_a_name_is_plain_and_short(text: str) -> None:
    shown = shown_name(text)

    assert len(shown) <= 253 and shown.isascii() and shown.isprintable()


def allows(entry: str, name: str, port: int = 443, protocol: str = "tcp") -> bool:
    rules = Rules((entry,))
    return rules.allows_name(name) and not rules.name_refusal(name, port, protocol)


def test_a_name_means_itself_and_a_suffix_what_is_below_it() -> None:
    assert allows("Example.com.", "example.com")
    assert not allows("example.com", "www.example.com")
    assert allows("*.example.com", "a.b.example.com")
    assert not allows("*.example.com", "example.com")
    assert not allows("*.example.com", "evilexample.com")
    assert not allows("*.example.com", "example.com.evil")


def test_ports_are_those_of_the_web_unless_written() -> None:
    assert [port for port in (22, 53, 80, 443, 8080) if allows("a.test", "a.test", port)] == [80, 443]
    assert [port for port in (22, 80, 443) if allows("a.test:22", "a.test", port)] == [22]
    assert all(allows("a.test:*", "a.test", port) for port in (1, 22, 65535))


def test_datagrams_need_a_written_port_and_never_quic() -> None:
    assert not allows("a.test", "a.test", 80, "udp")
    assert allows("a.test:123", "a.test", 123, "udp")
    assert not allows("a.test:443", "a.test", 443, "udp")
    assert not allows("a.test:*", "a.test", 443, "udp")


def literal(entry: str, address: str, port: int = 443) -> str:
    return Rules((entry,) if entry else ()).literal_refusal(ipaddress.ip_address(address), port, "tcp")


@pytest.mark.parametrize(
    ("entry", "address", "fits"),
    [
        ("", "1.1.1.1", True),
        ("", "10.1.2.3", False),
        ("a.test", "1.1.1.1", False),
        ("1.1.1.1", "1.1.1.1", True),
        ("1.1.1.0/24", "1.1.1.9", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("0.0.0.0/0", "10.1.2.3", False),
        ("0.0.0.0/0", "1.1.1.1", True),
        ("0.0.0.0/0", "169.254.169.254", False),
        ("8.0.0.0/6", "10.1.2.3", False),
        ("[fd00:1::1]:443", "fd00:1::1", True),
    ],
)
def test_an_address_is_reached_by_number_only_as_its_own_entry_says(entry: str, address: str, fits: bool) -> None:
    assert (literal(entry, address) == "") is fits


@pytest.mark.parametrize(
    "entry",
    ["", "*", "*.", "a.test:", "a.test:0", "a.test:65536", "a.test:x", "a.test:²", "http://a.test", "a.*.test", "a b",
     "127.0.0.1", "127.0.0.0/8", "169.254.169.254", "127.1", "10.0.0.1/8", "::1", "[::1]:80", "localhost", "*.127.1",
     "224.0.0.1"],
)  # fmt: skip
def test_an_entry_that_can_mean_nothing_says_so(entry: str) -> None:
    with pytest.raises(InvalidRequest):
        Rules((entry,))


@given(st.text(max_size=60))
def test_any_text_is_an_entry_or_a_clear_error(text: str) -> None:
    try:
        entry = parse_entry(text)
    except InvalidRequest:
        return
    assert bool(entry.name) + bool(entry.suffix) + bool(entry.network) == 1


def test_rules_survive_the_way_to_the_gateway() -> None:
    rules = Rules(("a.test:22", "*.b.test", "10.0.0.0/8"), published=True)

    assert Rules.from_json(rules.to_json()) == rules


def test_a_secrets_value_is_not_shown() -> None:
    assert "s3cr3t" not in repr(HostSecret("TOKEN", "placeholder", "s3cr3t", "a.test"))


def test_a_meter_is_for_every_port_of_its_entry_and_whatever_else_allows_the_name() -> None:
    metered: AllowGiven = {"host": "api.example.com:443", "meter": "anthropic"}
    rules = Rules((metered, "*.example.com", "api.example.com:8443", "api.example.com"))
    assert rules.meter("api.example.com", 443) == "anthropic"
    assert rules.meter("api.example.com", 8443) is None and rules.meter("other.example.com", 443) is None
    assert rules.terminated_hosts == rules.metered_hosts == ("api.example.com",)
    assert Rules.from_json(rules.to_json()) == rules


@pytest.mark.parametrize(
    "allow",
    [
        ({"host": "api.example.com", "meter": "other"},),
        ({"host": "*.example.com", "meter": "openai"},),
        ({"host": "api.example.com:*", "meter": "openai"},),
        ({"host": "10.0.0.1", "meter": "openai"},),
        ({"host": "api.example.com", "meter": "openai"}, {"host": "api.example.com:443", "meter": "anthropic"}),
    ],
)
def test_a_meter_needs_one_name_and_one_api(allow: tuple[AllowGiven, ...]) -> None:
    with pytest.raises(InvalidRequest):
        Rules(allow)
