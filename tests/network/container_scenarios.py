"""Scenarios with a container behind a gateway."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pyro_mcp.errors import HostNotReady, InvalidRequest
from pyro_mcp.network import GatewayControl, GuestCA, HostSecret, Rules, launch_gateway
from tests.network.container_backend import container, container_with_egress
from tests.network.internet import LAN, OTHER, SITE_KEY, SITE_NAME, WEB
from tests.network.scenario import RESET, UNKNOWN, refusals, scenario
from tests.network.testbed import Guest, Testbed
from tests.waiting import until

PLACEHOLDER = "pyro-secret-SITE-0123456789ab"
SECRET = HostSecret("SITE", PLACEHOLDER, SITE_KEY, SITE_NAME)


def interfaces(guest: Guest) -> str:
    return guest.python("print(*sorted(name for _, name in socket.if_nameindex()))")


@scenario
def a_container_reaches_what_its_rules_allow_and_nothing_else(testbed: Testbed) -> None:
    with container_with_egress(testbed.container_folder(), Rules(("web.test:7000", f"{OTHER}:7000"))) as guest:
        assert interfaces(guest) == "eth0 lo"
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        assert guest.reached(OTHER, 7000) == f"{OTHER} 7000"
        assert UNKNOWN in guest.reached("other.test", 7000)
        for address, port in ((WEB, 7000), (LAN, 80), ("172.31.0.2", 80), ("169.254.169.254", 80), ("10.0.2.2", 80)):
            assert RESET in guest.reached(address, port), address
        assert refusals(guest)["other.test:None"] == "not in the allow list"
        allowed = [entry for entry in guest.log() if entry["verdict"] == "allowed"]
        assert (allowed[0]["name"], allowed[0]["address"], allowed[0]["port"]) == ("web.test", WEB, 7000)


@scenario
def the_tls_proxy_inserts_the_secret_of_a_container_that_trusts_its_authority(testbed: Testbed) -> None:
    roots = testbed.folder / "roots.pem"
    roots.write_bytes(testbed.site_authority.certificate)
    os.environ["SSL_CERT_FILE"] = str(roots)
    program = f"""
        import http.client, ssl
        context = ssl.create_default_context(cafile={{ca!r}})
        client = http.client.HTTPSConnection({SITE_NAME!r}, timeout=10, context=context)
        client.request("GET", "/", headers={{{{"Authorization": "Bearer {PLACEHOLDER}"}}}})
        print(client.getresponse().read().decode())
    """
    variables = GuestCA(testbed.site_authority).environ()
    with container_with_egress(testbed.container_folder(), Rules((SITE_NAME,)), [SECRET]) as guest:
        said = guest.python(program.format(ca=f"{testbed.container_folder()}/root{variables['SSL_CERT_FILE']}"))
        assert said.startswith("the key is right;") and said.endswith(f"Bearer {PLACEHOLDER}"), said
        assert SITE_KEY not in json.dumps(guest.log())
        assert "CERTIFICATE_VERIFY_FAILED" in guest.python(program.format(ca=str(roots)))


@scenario
def a_port_of_a_container_is_published_on_loopback(testbed: Testbed) -> None:
    with container_with_egress(testbed.container_folder(), Rules(published=True)) as guest:
        guest.start("""
            import socketserver
            class Greet(socketserver.StreamRequestHandler):
                def handle(self):
                    self.wfile.write(b"container\\n")
            socketserver.ThreadingTCPServer(("0.0.0.0", 8000), Greet).serve_forever()
        """)
        port = guest.control.publish(None, 8000)
        end, found = time.monotonic() + 20, b""
        while not found and time.monotonic() < end:
            with suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", port), 10) as sock:
                found = sock.recv(100)  # a reset means that the server is still starting
        assert found == b"container\n"


@scenario
def a_gateway_ends_with_its_container_and_a_container_without_gateway_has_no_network(testbed: Testbed) -> None:
    with container_with_egress(testbed.container_folder(), Rules()) as guest:
        control = guest.control
        assert guest.reached("web.test", 80) == f"{WEB} 80"
        assert not control.wait_for_end(0.2)
    assert control.wait_for_end(5)
    folder, log = testbed.container_folder(), testbed.container_folder() / "network.log"
    with container(folder) as process:
        namespace = Path(f"/proc/{process.pid}/ns/net")
        guest = Guest(process, GatewayControl(folder), log)
        assert interfaces(guest) == "lo"
        with launch_gateway(folder, log, Rules(), namespace=namespace) as gateway:
            gateway.wait_until_ready()
            assert interfaces(guest) == "eth0 lo"
        assert guest.control.wait_for_end(5)
        # The kernel removes the pair with the gateway's namespace, a moment after its last process.
        until("eth0 is gone", lambda: interfaces(guest), lambda found: found == "lo", deadline_seconds=10)
        assert "unreachable" in guest.reached(WEB, 80)


@scenario
def a_namespace_that_has_another_way_out_gets_no_gateway(testbed: Testbed) -> None:
    wrapper = ["sh", "-c", 'ip link add other0 type veth peer name other1 && exec "$0" "$@"']
    folder, log = testbed.container_folder(), testbed.container_folder() / "network.log"
    with container(folder, *wrapper) as process:
        namespace = Path(f"/proc/{process.pid}/ns/net")
        with (
            launch_gateway(folder, log, Rules(), namespace=namespace) as gateway,
            pytest.raises(HostNotReady, match="interfaces of its own: other0, other1"),
        ):
            gateway.wait_until_ready()
    for path, reason in ((Path("/proc/self/ns/net"), "own network namespace"), (Path("/none"), "cannot open")):
        with pytest.raises(InvalidRequest, match=reason), launch_gateway(folder, log, Rules(), namespace=path):
            raise AssertionError("it was accepted")
