"""Decisions about names and connections, with a resolver of the test's own."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp.network.addressing.routes import Address
from pyro_mcp.network.dns import dns_message
from pyro_mcp.network.dns.upstream import LookupFailed
from pyro_mcp.network.policy.decisions import FakeIPs, Policy
from pyro_mcp.network.policy.log import NetworkLog, open_log, read_network_log
from pyro_mcp.network.policy.refused import Refused
from pyro_mcp.network.policy.rules import Rules
from pyro_mcp.results import NetworkLogEntry


class Names:
    """A resolver whose answers can be changed, and which knows what it was asked."""

    def __init__(self) -> None:
        self.answers = {
            "a.test": ["93.184.215.14"],
            "lan.test": ["10.0.0.9"],
            "both.test": ["10.0.0.9", "93.184.215.15"],
        }
        self.asked: list[str] = []

    def __call__(self, name: str) -> list[Address]:
        self.asked.append(name)
        if name not in self.answers:
            raise LookupFailed("there is no such name", missing=True)
        return [ipaddress.ip_address(text) for text in self.answers[name]]


class Scene:
    def __init__(self, path: Path) -> None:
        self.path, self.names = path, Names()
        self.descriptor = open_log(path)

    def policy(self, *allow: str, secret_hosts: tuple[str, ...] = (), cache_seconds: float = 30.0) -> Policy:
        return Policy(Rules(allow), NetworkLog(self.descriptor), secret_hosts, self.names, cache_seconds)

    def reasons(self) -> list[str]:
        return [entry["reason"] for entry in read_network_log(self.path, 100)]


class Recording:
    """A supervisor that records names until it is full."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.recorded: list[str] = []

    def decided(self, entry: NetworkLogEntry) -> str:
        if len(self.recorded) >= self.most:
            raise Refused("it is full")
        self.recorded.append(f"{entry['verdict']} {entry['protocol']} {entry['name']}")
        return ""

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str:
        return f"{secret} is not for {method} {path} at {host}"

    def connect(self, name: str) -> socket.socket:
        raise Refused(name)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "log")
    yield scene
    os.close(scene.descriptor)


def asked(policy: Policy, name: str, kind: int = dns_message.A) -> dns_message.ResourceRecord:
    (record,) = policy.resolve(name.encode().split(b"."), kind).records
    return record


def address_of(policy: Policy, name: str) -> str:
    return str(ipaddress.IPv4Address(asked(policy, name).data))


def test_a_name_in_any_case_has_one_fake_ip(scene: Scene) -> None:
    policy = scene.policy()

    assert address_of(policy, "a.test") == address_of(policy, "A.tEsT")
    assert address_of(policy, "a.test") != address_of(policy, "both.test")


def test_a_name_that_is_not_allowed_is_asked_of_nobody(scene: Scene) -> None:
    policy = scene.policy("a.test")

    for name in ("b.test", "x.a.test", "secret.data.evil", "localhost", "127.1"):
        assert policy.resolve(name.encode().split(b"."), dns_message.A).code == dns_message.NO_SUCH_NAME
    assert scene.names.asked == []


def test_with_an_allow_list_no_other_record_is_asked_for(scene: Scene) -> None:
    answer = scene.policy("a.test").resolve([b"a", b"test"], dns_message.TXT)

    assert (answer.code, answer.records) == (0, ())


def test_private_addresses_of_a_name_are_left_out(scene: Scene) -> None:
    policy = scene.policy()

    assert policy.resolve([b"lan", b"test"], dns_message.A).code == dns_message.NO_SUCH_NAME
    target = policy.target(address_of(policy, "both.test"), 80, "tcp")
    assert [str(address) for address in policy.addresses(target)] == ["93.184.215.15"]


def test_a_name_that_becomes_private_later_is_refused_at_the_connection(scene: Scene) -> None:
    policy = scene.policy(cache_seconds=0)
    fake_ip = address_of(policy, "a.test")
    scene.names.answers["a.test"] = ["169.254.169.254"]

    with pytest.raises(Refused, match="no address that may be reached"):
        policy.addresses(policy.target(fake_ip, 80, "tcp"))
    assert "metadata" in scene.reasons()[-1]


def test_a_machine_cannot_tell_a_private_name_from_one_that_does_not_exist(scene: Scene) -> None:
    policy = scene.policy()

    answers = {policy.resolve([label, b"test"], dns_message.A) for label in (b"lan", b"gone")}
    assert len(answers) == 1 and "10.0" not in str(answers)
    assert scene.reasons() == ["10.0.0.9 is private", "there is no such name"]


def test_an_unused_fake_ip_is_refused(scene: Scene) -> None:
    with pytest.raises(Refused, match="stands for no name"):
        scene.policy().target("198.18.99.99", 80, "tcp")


def test_web_ports_are_looked_at_only_where_a_name_must_be_confirmed(scene: Scene) -> None:
    open_policy, listed = scene.policy(), scene.policy("a.test", "a.test:22", "1.1.1.1")

    assert open_policy.target(address_of(open_policy, "a.test"), 443, "tcp").inspect == ""
    inspected = [listed.target(address_of(listed, "a.test"), port, "tcp").inspect for port in (80, 443, 22)]
    assert inspected == ["http", "tls", ""]
    assert listed.target("1.1.1.1", 443, "tcp").inspect == ""


def test_a_host_with_a_secret_ends_at_the_gateway_and_has_no_quic(scene: Scene) -> None:
    policy = scene.policy(secret_hosts=("a.test",))
    fake_ip = address_of(policy, "a.test")

    assert policy.target(fake_ip, 443, "tcp").inspect == "proxy"
    with pytest.raises(Refused, match="QUIC"):
        policy.target(fake_ip, 443, "udp")


def test_the_name_not_used_for_longest_makes_room() -> None:
    fake_ips = FakeIPs(most=3)
    first = {name: fake_ips.of(name) for name in ("a", "b", "c")}
    fake_ips.name(ipaddress.ip_address(first["a"]))
    fake_ips.of("d")

    assert fake_ips.name(ipaddress.ip_address(first["b"])) is None
    assert fake_ips.name(ipaddress.ip_address(first["a"])) == "a"
    assert fake_ips.of("b") not in first.values()


def test_a_pointer_leads_back_from_a_fake_ip_only(scene: Scene) -> None:
    policy = scene.policy()
    reverse = ipaddress.ip_address(address_of(policy, "a.test")).reverse_pointer

    assert asked(policy, reverse, dns_message.PTR).data == b"\1a\4test\0"
    assert (
        policy.resolve([b"1", b"0", b"0", b"10", b"in-addr", b"arpa"], dns_message.PTR).code == dns_message.NO_SUCH_NAME
    )


def test_a_name_whose_labels_the_guest_chose_is_recorded_before_it_is_looked_up(scene: Scene) -> None:
    supervisor = Recording(most=1)
    scene.names.answers |= {"one.b.test": ["93.184.215.14"], "two.b.test": ["93.184.215.14"]}
    rules = Rules(("a.test", "*.b.test"))
    policy = Policy(rules, NetworkLog(scene.descriptor), (), scene.names, supervisor=supervisor)

    assert address_of(policy, "a.test") and address_of(policy, "one.b.test") and address_of(policy, "one.b.test")
    assert policy.resolve((b"two", b"b", b"test"), dns_message.A).records == ()

    assert supervisor.recorded == ["allowed dns one.b.test"]
    assert scene.names.asked == ["a.test", "one.b.test"]
