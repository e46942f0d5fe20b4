"""Whatever form an address has, a machine cannot reach what is not public by it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.network.addressing.addresses import AddressScope, private_block, scope_of
from pyro_mcp.network.addressing.routes import reach_of

V4, V6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
FORBIDDEN = [
    "0.0.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "192.0.0.192", "198.18.0.1", "224.0.0.251",
    "255.255.255.255", "240.0.0.1", "100.100.100.200", "168.63.129.16", "::", "::1", "fe80::1", "ff02::1",
    "fd00:ec2::254", "2001::1", "64:ff9b:1::1", "::127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    "64:ff9b::a9fe:a9fe", "fec0::1", "100::1", "4000::1", "192.0.2.1", "198.51.100.1", "203.0.113.255", "3fff::1",
    "5f00::1", "2001:db8::1", "::ffff:192.0.2.1", "64:ff9b::c000:201", "2002:c633:6401::1",
]  # fmt: skip
PRIVATE = ["10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "172.32.0.1",
    "100.128.0.1",
    "223.255.255.255",
    "2606:4700::1",
    "64:ff9b::101:101",
]


@pytest.mark.parametrize(("addresses", "scope"), [(FORBIDDEN, "FORBIDDEN"), (PRIVATE, "PRIVATE"), (PUBLIC, "PUBLIC")])
def test_every_address_has_its_scope(addresses: list[str], scope: str) -> None:
    assert {text: scope_of(ipaddress.ip_address(text))[0].name for text in addresses} == dict.fromkeys(addresses, scope)


@given(V4)
def test_a_version_4_address_that_python_knows_as_private_is_never_public(address: ipaddress.IPv4Address) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert scope_of(address)[0] is not AddressScope.PUBLIC


@given(V6)
def test_a_version_6_address_is_public_only_within_the_global_block(address: ipaddress.IPv6Address) -> None:
    if address not in ipaddress.ip_network("2000::/3") and address not in ipaddress.ip_network("64:ff9b::/96"):
        embedded = address.ipv4_mapped
        assert scope_of(address)[0] is not AddressScope.PUBLIC or embedded is not None


@given(V4)
def test_every_version_6_form_of_a_version_4_address_has_its_standing(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    forms = [0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80]

    assert {scope_of(ipaddress.IPv6Address(form)) for form in forms} == {scope_of(address)}


@given(V4, st.integers(0, 32))
def test_a_block_that_counts_as_private_holds_nothing_public(address: ipaddress.IPv4Address, length: int) -> None:
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    if private_block(network):
        assert scope_of(network[0])[0] is not AddressScope.PUBLIC
        assert scope_of(network[-1])[0] is not AddressScope.PUBLIC


def test_the_hosts_own_addresses_are_known_without_a_list() -> None:
    assert reach_of(ipaddress.ip_address("127.0.0.1")).own
    assert reach_of(ipaddress.ip_address("127.1.2.3")).own
    assert reach_of(ipaddress.ip_address("::1")).own
    assert not reach_of(ipaddress.ip_address("93.184.215.14")).own
