"""Scenarios about the addresses and names that a guest reaches."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import threading
import time

from pyro_mcp.network.addressing.routes import reach_of
from tests.network.internet import HOST_SIDE, LAN, NEIGHBOUR, NEIGHBOUR6, RECORDS, THIS_SIDE, WEB, set_up
from tests.network.scenario import RESET, UNKNOWN, refusals, scenario
from tests.network.testbed import Testbed


@scenario
def private_and_local_addresses_are_refused_at_once_by_number_and_by_name(testbed: Testbed) -> None:
    services = [socket.create_server((address, 7000)) for address in ("127.0.0.1", HOST_SIDE)]
    with testbed.guest() as guest:
        began = time.monotonic()
        for address in (
            LAN,
            THIS_SIDE,
            HOST_SIDE,
            "169.254.169.254",
            "10.0.2.2",
            "10.0.2.77",
            "198.18.7.7",
            "240.0.0.1",
        ):
            assert RESET in guest.reached(address, 7000), address
        for name in ("lan.test", "meta.test", "loop.test", "localhost.", "sub.localhost", "127.1."):
            said = guest.python(f"import subprocess; print(subprocess.run(['getent', 'ahosts', '{name}']).returncode)")
            assert said == "2" or name == "localhost.", (name, said)
        assert time.monotonic() - began < 15
        why = refusals(guest)
        assert why[f"{LAN}:7000"] == f"{LAN} is private"
        assert why["lan.test:None"] == f"{LAN} is private"
        assert "metadata" in why["169.254.169.254:7000"]
        for service in services:
            service.setblocking(False)
            try:
                service.accept()
            except BlockingIOError:
                continue
            raise AssertionError("the host's own service was reached")


@scenario
def the_hosts_own_public_address_is_refused_until_it_alone_is_allowed(testbed: Testbed) -> None:
    set_up("uplink", "8.8.4.3/24", "8.8.4.4/24")  # the second address is a secondary one
    with socket.create_server(("8.8.4.4", 7000)) as service:
        threading.Thread(target=_greet, args=(service,), daemon=True).start()
        with testbed.guest() as guest:
            assert RESET in guest.reached("8.8.4.4", 7000)
            assert refusals(guest) == {"8.8.4.4:7000": "8.8.4.4 is the host's own address"}
        with testbed.guest("8.8.4.4:7000") as guest:
            assert guest.reached("8.8.4.4", 7000) == "here"


def _greet(service: socket.socket) -> None:
    while True:
        with service.accept()[0] as client:
            client.sendall(b"here")


@scenario
def what_is_in_the_hosts_own_network_is_refused_until_it_is_allowed(testbed: Testbed) -> None:
    set_up("uplink", "81.2.69.1/24")
    subprocess.run(["ip", "address", "add", "2a02:6b8::1/64", "dev", "uplink", "nodad"], check=True)
    with socket.create_connection((NEIGHBOUR, 7000), 5) as line:
        assert line.recv(100) == f"{NEIGHBOUR} 7000\n".encode()
    found = {"near.test:None": NEIGHBOUR, f"{NEIGHBOUR}:7000": NEIGHBOUR, "near6.test:None": NEIGHBOUR6}
    with testbed.guest() as guest:
        assert RESET in guest.reached(NEIGHBOUR, 7000)
        assert UNKNOWN in guest.reached("near.test", 7000)
        assert UNKNOWN in guest.reached("near6.test", 7000)
        assert refusals(guest) == {asked: f"{address} is in the host's own network" for asked, address in found.items()}
    with testbed.guest("near.test:7000", "81.0.0.0/8:7000") as guest:
        assert UNKNOWN in guest.reached("near.test", 7000)
    with testbed.guest("near.test:7000", "81.2.69.0/24:7000") as guest:
        assert guest.reached("near.test", 7000) == f"{NEIGHBOUR} 7000"


@scenario
def what_a_vpn_leads_to_is_not_the_hosts_own_network(_: Testbed) -> None:
    subprocess.run(["ip", "tuntap", "add", "dev", "vpn", "mode", "tun"], check=True)
    set_up("vpn", "81.2.69.1/24")
    for network in ("81.3.0.0/16", "0.0.0.0/1"):
        subprocess.run(["ip", "route", "add", network, "dev", "vpn"], check=True)
    near = {text: reach_of(ipaddress.ip_address(text)).on_link for text in ("81.2.69.7", "81.3.0.1", "9.9.9.9", WEB)}
    assert near == {"81.2.69.7": 24, "81.3.0.1": None, "9.9.9.9": None, WEB: None}


@scenario
def what_only_the_hosts_resolver_knows_stays_unknown(testbed: Testbed) -> None:
    program = """
        name = b"".join(bytes([len(part)]) + part for part in {name!r}.encode().split(b".")) + b"\\0"
        extended = bytes.fromhex("0000290400000000000000")
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.settimeout(5)
        line.sendto(struct.pack("!6H", 7, 0x100, 1, 0, 0, 1) + name + struct.pack("!HH", {kind}, 1) + extended,
                    ("10.0.2.3", 53))
        reply = line.recv(1000)
        print(reply[3] & 15, struct.unpack("!H", reply[6:8])[0], reply[len(name) + 16:].hex())
    """
    with testbed.guest() as guest:
        said = {(name, kind): guest.python(program.format(name=name, kind=kind)) for name, kind in RECORDS}
        private, missing = (guest.python(program.format(name=name, kind=1)) for name in ("lan.test", "gone.test"))
    assert private == missing and private.startswith("3 0 ")
    assert {asked: answer[:3] for asked, answer in said.items()} == {
        ("web.test", 16): "0 1",
        ("lan.test", 16): "0 0",
        ("web.test", 15): "0 1",
        ("_ldap._tcp.test", 33): "0 1",
        ("9.9.9.10.in-addr.arpa", 12): "3 0",
        ("1.0.0.0.d.f.ip6.arpa", 12): "0 0",
    }
    assert not any(b"lan".hex() in answer for answer in said.values())
