"""Scenarios in which a process of a supervised guest is killed, or its supervisor answers what is not valid."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp.errors import HostNotReady
from pyro_mcp.host.files import private_directory
from pyro_mcp.network import Rules, launch_gateway, listen_for_gateway
from pyro_mcp.network.channel.messages import ChannelClosed, close_all, receive_message, send_message
from tests.network.container_backend import container_with_egress
from tests.network.internet import SITE_KEY, SITE_NAME, WEB
from tests.network.recording_supervisor import RecordingSupervisor, supervising
from tests.network.scenario import RESET, scenario
from tests.network.supervised_scenarios import SECRET, https
from tests.network.testbed import Guest, Testbed, receive_line, start_program
from tests.waiting import until

NOTHING_REACHED = """
    for host in ("93.184.215.14", "172.31.0.2", "198.18.0.1"):
        try: socket.create_connection((host, 7000), 0.3)
        except OSError as error: print("none")
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.settimeout(0.5)
    line.sendto(bytes(12), ("10.0.2.3", 53))
    try: line.recv(1)
    except OSError as error: print("none")
"""


def assert_no_network(guest: Guest) -> None:
    assert guest.python(NOTHING_REACHED).split() == ["none"] * 4


@scenario
def whichever_process_of_a_supervised_guest_is_killed_it_has_no_network(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    for victim in ("supervisor", "policy", "relay"):
        with start_program([], "tests.network.supervisor_process", str(path)) as supervisor:
            assert receive_line(supervisor) == "here"
            with testbed.guest(supervisor=path) as guest:
                assert guest.reached("web.test", 7000) == f"{WEB} 7000"
                info = guest.control.info()
                pids = {"supervisor": supervisor.pid, "policy": info.policy_pid, "relay": info.relay_pid}
                os.kill(pids[victim], signal.SIGKILL)
                assert guest.control.wait_for_end(5), victim
                assert_no_network(guest)
                if victim != "supervisor":
                    assert receive_line(supervisor) == "ended"


@scenario
def a_gateway_whose_starter_is_killed_before_the_guest_is_there_ends(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    private_directory(testbed.folder / "sockets")
    for step in ("connected", "spawned", "ready"):
        guard = RecordingSupervisor()
        with (
            supervising(path, guard),
            start_program([], "tests.network.starter_process", str(testbed.folder), step) as starter,
        ):
            if step == "connected":
                assert guard.connected.wait(20)
            else:
                assert receive_line(starter) == "here"
            starter.kill()
            assert guard.gateway.wait(10), step


@scenario
def a_gateway_with_a_guest_outlives_its_starter(testbed: Testbed) -> None:
    path, lifetime = testbed.folder / "supervisor", testbed.folder / "lifetime"
    private_directory(testbed.folder / "sockets")
    guard = RecordingSupervisor()
    with supervising(path, guard), socket.socket(socket.AF_UNIX) as guest:
        guest.bind(str(lifetime))
        guest.listen()
        with start_program([], "tests.network.starter_process", str(testbed.folder), "attached") as starter:
            assert receive_line(starter) == "here"
            starter.kill()
            starter.wait(10)
            assert not guard.gateway.wait(0.5)
        guest.close()
        assert guard.gateway.wait(10)


@contextmanager
def answering(path: Path, reply: dict[str, Any], descriptors: int = 0) -> Iterator[None]:
    """Be a supervisor that answers every decision with `reply` and so many descriptors."""

    def serve(listener: socket.socket) -> None:
        channel, _ = listener.accept()
        with channel, suppress(ChannelClosed), open(os.devnull, "rb") as null:
            while True:
                message, answers = receive_message(channel)
                held = [null.fileno()] * descriptors if message["do"] != "start" else []
                with socket.socket(fileno=answers.pop()) as answer, suppress(ChannelClosed):
                    send_message(answer, {} if message["do"] == "start" else reply, held)
                close_all(answers)

    with listen_for_gateway(path) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield


@scenario
def answers_of_a_supervisor_that_are_not_valid_are_refusals(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    named = {"host": "x.bottle.internal:7000", "upstream": "supervisor"}
    for reply in ({}, {"text": 1}, {"text": None, "refused": "x"}, {"error": "\x1b[2J" * 1000}):
        with answering(path, reply), testbed.guest("web.test:7000", supervisor=path) as guest:
            assert RESET in guest.reached("web.test", 7000), reply
            guest.close_lifetime()
    for count in (0, 1, 3):
        with answering(path, {"text": ""}, count), testbed.guest(named, "web.test:7000", supervisor=path) as guest:
            assert RESET in guest.reached("x.bottle.internal", 7000), count
            assert guest.reached("web.test", 7000) == f"{WEB} 7000"
            guest.close_lifetime()


@scenario
def a_supervisor_that_does_not_serve_lets_no_gateway_start(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    folder, log = testbed.folder / "sockets", testbed.folder / "log"
    with listen_for_gateway(path) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        with launch_gateway(folder, log, Rules(), supervisor=path) as gateway, pytest.raises(HostNotReady) as raised:
            gateway.wait_until_ready()
        hanging_up.join(10)
    assert "supervisor" in raised.value.message, raised.value.message


@scenario
def a_secret_is_put_into_a_request_only_with_the_consent_of_the_supervisor(testbed: Testbed) -> None:
    path, folder = testbed.folder / "supervisor", testbed.container_folder()
    roots = testbed.folder / "roots.pem"
    roots.write_bytes(testbed.site_authority.certificate)
    os.environ["SSL_CERT_FILE"] = str(roots)
    with (
        supervising(path, RecordingSupervisor()) as guard,
        container_with_egress(folder, Rules((SITE_NAME,)), [SECRET], supervisor=path) as guest,
    ):
        assert "the key is right" in guest.python(https(folder, SITE_NAME, "/a?b=c"))
        assert guard.secret_uses == [("SITE", SITE_NAME, "GET", "/a")]
        guard.forbidden_secrets["SITE"] = "nobody has approved it yet; asked as r9"
        refused = guest.python(https(folder, SITE_NAME, "/b"))
        assert refused.startswith("403 ") and "asked as r9" in refused, refused
        assert "the key is wrong" in guest.python(https(folder, SITE_NAME, "/c", placeholder="none"))
        assert [use[3] for use in guard.secret_uses] == ["/a", "/b"]
        found = [line for line in guard.decisions() if " http " in line]
        assert found == [f"{what} http {SITE_NAME}:443/{name}" for what, name in zip(
            ("allowed", "refused", "allowed"), "abc", strict=True)]  # fmt: skip
        assert SITE_KEY not in repr(guard.entries)


@scenario
def a_guest_that_decides_without_end_ends_neither_its_gateway_nor_its_supervisor(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    with supervising(path, RecordingSupervisor()) as guard, testbed.guest("web.test:7000", supervisor=path) as guest:
        guest.start(f"""
            import socket, threading
            def go():
                while True:
                    try:
                        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                        line.sendto(b"\\0" * 12 + b"\\3" + b"\\377abc"[:3] + b"\\0\\0\\1\\0\\1", ("10.0.2.3", 53))
                        socket.create_connection(({WEB!r}, 7001), 5).close()
                    except OSError: pass
            for _ in range(8): threading.Thread(target=go).start()
        """)
        until("the flood is counted", lambda: [one for one in guard.entries if one["protocol"] == "any"], bool)
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        assert not guard.gateway.wait(0)
        written = len(guard.entries)
        assert written < 200, written
