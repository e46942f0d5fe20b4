"""Scenarios with a guest behind a gateway."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pyro_mcp.errors import Conflict
from pyro_mcp.host.user_ids import machine_ids
from pyro_mcp.network.gateway.control import GatewayControl
from pyro_mcp.network.gateway.launch import launch_gateway
from pyro_mcp.network.policy.rules import Rules
from tests.network.internet import HOST_SIDE, LAN, OTHER, UDP_PORT, WEB
from tests.network.scenario import RESET, UNKNOWN, refusals, scenario
from tests.network.testbed import Testbed


def client_hello(name: str | None) -> str:
    """Return the ClientHello of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read().decode("latin-1")
    raise AssertionError("a handshake needs two")


@scenario
def a_name_leads_to_its_own_server_at_an_address_that_stands_for_it(testbed: Testbed) -> None:
    with testbed.guest() as guest:
        fake_ip = guest.python("print(socket.gethostbyname('web.test'))")

        assert fake_ip.startswith(("198.18.", "198.19."))
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        assert guest.reached(fake_ip, 80) == f"{WEB} 80"
        assert guest.reached(OTHER, 7000) == f"{OTHER} 7000"
        assert guest.python(f"print(socket.gethostbyaddr('{fake_ip}')[0])") == "web.test"
        assert next((entry["name"], entry["port"]) for entry in guest.log()) == ("web.test", 7000)


@scenario
def with_an_allow_list_nothing_else_is_reached_or_asked_for(testbed: Testbed) -> None:
    with testbed.guest("web.test", "*.deep.test", f"{OTHER}:7000", f"{LAN}/32:80") as guest:
        assert UNKNOWN in guest.reached("other.test", 80)
        assert UNKNOWN in guest.reached("secret-data.evil.test", 80)
        assert UNKNOWN in guest.reached("deep.test", 80)
        assert RESET in guest.reached(WEB, 80)
        assert RESET in guest.reached(OTHER, 80)
        assert RESET in guest.reached("web.test", 7000)
        assert guest.reached(OTHER, 7000) == f"{OTHER} 7000"
        assert guest.reached(LAN, 80) == f"{LAN} 80"
        why = refusals(guest)
        assert why["other.test:None"] == "not in the allow list"
        assert why[f"{WEB}:80"] == "not in the allow list"
        assert why["web.test:7000"] == "tcp port 7000 is not in the allow list"
    assert set(testbed.asked()) == {"web.test"}


@scenario
def with_an_allow_list_a_private_address_behind_an_allowed_name_is_refused_unless_allowed_too(testbed: Testbed) -> None:
    with testbed.guest("lan.test", "meta.test") as guest:
        assert UNKNOWN in guest.reached("lan.test", 80)
        assert UNKNOWN in guest.reached("meta.test", 80)
    with testbed.guest("lan.test:7000", "10.0.0.0/8") as guest:
        assert guest.reached("lan.test", 7000) == f"{LAN} 7000"


@scenario
def a_tls_connection_must_be_for_the_name_that_it_goes_to(testbed: Testbed) -> None:
    with testbed.guest("web.test", "other.test") as guest:
        assert guest.reached("web.test", 443, client_hello("web.test")).startswith(f"{WEB} 443")
        assert guest.reached("web.test", 443, client_hello("WEB.test")).startswith(f"{WEB} 443")
        for wrong in (client_hello("other.test"), client_hello(None), client_hello("web.test.evil"), "SSH-2.0-x\r\n"):
            assert RESET in guest.reached("web.test", 443, wrong), wrong
        assert set(refusals(guest)) == {"web.test:443"}


@scenario
def every_request_over_plain_http_must_be_for_the_name_that_it_goes_to(testbed: Testbed) -> None:
    proper, other = "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n"
    with testbed.guest("web.test", "other.test") as guest:
        assert guest.reached("web.test", 80, proper).startswith(f"{WEB} 80")
        for wrong in (
            other,
            proper + other,
            "CONNECT other.test:443 HTTP/1.1\r\nHost: web.test\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
        ):
            assert RESET in guest.reached("web.test", 80, wrong), wrong
        elapsed = guest.python(f"""
            import time
            line = socket.create_connection(("web.test", 80))
            began = time.monotonic()
            line.sendall({other.encode()!r})
            try: line.recv(1)
            except ConnectionResetError: print(time.monotonic() - began)
        """)
        assert float(elapsed) < 1.2, elapsed
        said = guest.python(f"""
            line = socket.create_connection(("web.test", 80))
            line.settimeout(5)
            stream = line.makefile("rb")
            for request in ({proper.encode()!r}, {proper.encode()!r}):
                line.sendall(request)
                while stream.readline() != b"\\r\\n": pass
                print("echoed")
            line.sendall({other.encode()!r})
            print(stream.readline())
        """)
        assert RESET in said, said
        assert refusals(guest)["web.test:80"] == "the HTTP request is for other.test"


@scenario
def datagrams_go_and_come_and_refused_ones_are_answered(testbed: Testbed) -> None:
    program = """
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.settimeout(5)
        line.connect(({host!r}, {port}))
        line.send(bytes(range(256)) * {blocks})
        print(line.recv(65535) == bytes(range(256)) * {blocks})
    """
    with testbed.guest() as guest:
        for blocks in (0, 1, 5, 6, 40, 200):
            assert guest.python(program.format(host="web.test", port=UDP_PORT, blocks=blocks)) == "True", blocks
        assert "refused" in guest.python(program.format(host=LAN, port=UDP_PORT, blocks=1))
        assert "refused" in guest.python(program.format(host="web.test", port=7999, blocks=1))
    with testbed.guest(f"web.test:{UDP_PORT}", "other.test:443") as guest:
        assert guest.python(program.format(host="web.test", port=UDP_PORT, blocks=6)) == "True"
        assert "refused" in guest.python(program.format(host="other.test", port=443, blocks=1))
        assert refusals(guest)["other.test:443"] == "QUIC hides the name it is for"


@scenario
def dns_is_answered_here_whoever_is_asked_and_however(testbed: Testbed) -> None:
    program = """
        name = b"".join(bytes([len(part)]) + part for part in {name!r}.encode().split(b".")) + b"\\0"
        question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", {kind}, 1)
        if {stream}:
            line = socket.create_connection(("9.9.9.9", 53), 5)
            line.sendall(struct.pack("!H", len(question)) + question)
            reply = line.recv(1000)[2:]
        else:
            line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            line.settimeout(5)
            line.sendto(question, ("9.9.9.9", 53))
            reply, sender = line.recvfrom(1000)
            assert sender == ("9.9.9.9", 53)
        print(reply[3] & 15, struct.unpack("!H", reply[6:8])[0], b"a txt" in reply)
    """
    with testbed.guest() as guest:
        for stream in (True, False):
            assert guest.python(program.format(name="web.test", kind=1, stream=stream)) == "0 1 False"
            assert guest.python(program.format(name="web.test", kind=16, stream=stream)) == "0 1 True"
            assert guest.python(program.format(name="web.test", kind=28, stream=stream)) == "0 0 False"
            assert guest.python(program.format(name="gone.test", kind=1, stream=stream)) == "3 0 False"
    with testbed.guest("web.test") as guest:
        assert guest.python(program.format(name="web.test", kind=16, stream=True)) == "0 0 False"
        assert guest.python(program.format(name="x.web.test", kind=16, stream=False)) == "3 0 False"
    assert not {"9.9.9.9", "x.web.test", "gone.test.corp.test", "web.test.corp.test"} & set(testbed.asked())


@scenario
def a_fake_ip_of_an_earlier_gateway_stands_for_nothing(testbed: Testbed) -> None:
    with testbed.guest() as guest:
        first = guest.python("print(socket.gethostbyname('web.test'))")
    with testbed.guest() as guest:
        assert RESET in guest.reached(first, 80)


@scenario
def a_large_transfer_arrives_whole_both_ways_and_each_direction_ends_by_itself(testbed: Testbed) -> None:
    with testbed.guest() as guest:
        said = guest.python("""
            import hashlib, os, threading
            line = socket.create_connection(("web.test", 7000))
            stream = line.makefile("rb")
            stream.readline()
            data = os.urandom(1 << 20) * 24
            def send():
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)
            threading.Thread(target=send).start()
            print(stream.read() == data)
        """)
        assert said == "True"


@scenario
def a_published_port_is_on_loopback_only_and_closes_when_it_is_unpublished(testbed: Testbed) -> None:
    with testbed.guest(published=True) as guest:
        guest.start("""
            import socketserver
            class Greet(socketserver.StreamRequestHandler):
                def handle(self):
                    self.wfile.write(b"guest\\n")
                    self.rfile.read()
            socketserver.ThreadingTCPServer(("0.0.0.0", 8000), Greet).serve_forever()
        """)
        port = guest.control.publish(None, 8000)
        line = _connected(port)
        assert guest.control.info().ports == ((port, 8000),)
        with pytest.raises(Conflict, match="is taken"):
            guest.control.publish(port, 8000)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST_SIDE, port), 2)
        guest.control.unpublish(port)
        assert line.recv(100) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 2)
        assert guest.control.publish(port, 8000) == port
    with testbed.guest() as guest, pytest.raises(Conflict, match="does not allow"):
        guest.control.publish(None, 8000)


def _connected(port: int) -> socket.socket:
    """A connection to the guest's server, which may still be starting."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(ConnectionResetError):  # while it is made, or just after
            line = socket.create_connection(("127.0.0.1", port), 10)
            if line.recv(100) == b"guest\n":
                return line
            line.close()
    raise AssertionError("the guest's server did not start")


@scenario
def whichever_process_is_killed_the_guest_has_no_network_and_nothing_is_left(testbed: Testbed) -> None:
    for victim in ("policy_pid", "relay_pid"):
        with testbed.guest() as guest:
            assert guest.reached("web.test", 80) == f"{WEB} 80"
            info = guest.control.info()
            watched = [os.pidfd_open(info.policy_pid), os.pidfd_open(info.relay_pid)]
            os.kill(getattr(info, victim), signal.SIGKILL)
            assert guest.control.wait_for_end(5)
            for process in watched:
                assert _ended(process), victim
            said = guest.python("""
                for host in ("93.184.215.14", "10.9.9.9", "172.31.0.2", "198.18.0.1"):
                    try: socket.create_connection((host, 80), 0.5)
                    except OSError as error: print("none")
                line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                line.settimeout(0.5)
                line.sendto(bytes(12), ("10.0.2.3", 53))
                try: line.recv(1)
                except OSError as error: print("none")
            """)
            assert said.split() == ["none"] * 5


@scenario
def a_gateway_ends_with_its_machine(testbed: Testbed) -> None:
    with testbed.guest() as guest:
        info = guest.control.info()
        watched = [os.pidfd_open(info.policy_pid), os.pidfd_open(info.relay_pid)]
        assert not guest.control.wait_for_end(0.2)
        guest.close_lifetime()
        assert guest.control.wait_for_end(5)
        assert all(_ended(process) for process in watched)


@scenario
def a_gateway_that_was_never_attached_ends_with_its_starter(testbed: Testbed) -> None:
    folder = testbed.folder / "sockets"
    with launch_gateway(folder, testbed.folder / "log", Rules()) as gateway:
        gateway.tap()
        info = GatewayControl(folder).info()
        watched = [os.pidfd_open(info.policy_pid), os.pidfd_open(info.relay_pid)]
    assert all(_ended(process) for process in watched)


def _ended(process: int) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(5000))


@scenario
def both_processes_have_no_rights_and_no_way_back(testbed: Testbed) -> None:
    with testbed.guest() as guest:
        info = guest.control.info()
        for pid in (pids := (info.policy_pid, info.relay_pid)):
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            assert {status[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
            assert status["NoNewPrivs"] == "1"
            assert status["Seccomp"] == "2"
        users = [Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[:4] for pid in pids]
        ids = machine_ids(testbed.folder)
        assert users == ([[str(id_)] * 4 for id_ in (ids.policy, ids.relay)] if ids else [["0"] * 4] * 2)


@scenario
def both_processes_are_alone_in_a_root_that_nobody_can_write(testbed: Testbed) -> None:
    with testbed.guest() as guest:
        info = guest.control.info()
        policy_process, relay_process = (Path("/proc", str(pid)) for pid in (info.policy_pid, info.relay_pid))
        for name in ("mnt", "pid", "ipc", "uts"):
            assert (
                len({os.readlink(one / "ns" / name) for one in (policy_process, relay_process, Path("/proc/self"))})
                == 3
            ), name
        assert os.readlink(policy_process / "ns/net") == os.readlink("/proc/self/ns/net")
        assert os.readlink(relay_process / "ns/net") != os.readlink("/proc/self/ns/net")
        assert list((relay_process / "root").iterdir()) == []
        assert {path.name for path in (policy_process / "root").iterdir()} <= {"etc", "usr", "lib", "lib64", "run"}
        for one in (policy_process, relay_process):
            mounts = [line.split() for line in (one / "mountinfo").read_text().splitlines()]
            assert [words[4] for words in mounts if "rw" in words[5].split(",") and words[4] in {"/", "/etc"}] == []
            assert "Max processes             4096 " in (one / "limits").read_text()


@scenario
def connections_beyond_the_limit_are_refused_and_others_go_on(testbed: Testbed) -> None:
    with testbed.guest() as guest:
        said = guest.python("""
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
            lines = []
            for _ in range(560):
                try: lines.append(socket.create_connection(("93.184.215.14", 7000), 20))
                except ConnectionResetError: continue
            def alive(line):
                try: return line.recv(100) != b""
                except ConnectionResetError: return False
            print(sum(map(alive, lines)))
        """)
        assert said == "512", said
        assert guest.reached("web.test", 80) == f"{WEB} 80"
