"""Scenarios with a gateway that another process supervises."""

from __future__ import annotations

import pytest

from pyro_mcp.errors import HostNotReady
from pyro_mcp.network import Rules, launch_gateway
from tests.network.internet import WEB
from tests.network.recording_supervisor import RecordingSupervisor, supervising
from tests.network.scenario import RESET, UNKNOWN, scenario
from tests.network.testbed import Testbed

REQUEST = "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"


@scenario
def each_decision_is_at_the_supervisor_before_it_takes_effect(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    with supervising(path, RecordingSupervisor()) as guard, testbed.guest("web.test:7000", supervisor=path) as guest:
        guard.text = "asked as r7"
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        assert UNKNOWN in guest.reached("other.test", 7000)
        assert RESET in guest.reached(WEB, 7000)
        assert guard.decisions() == [
            "allowed tcp web.test:7000", "refused dns other.test:None", f"refused tcp {WEB}:7000"
        ]  # fmt: skip
        answer = guest.python(f"""
            line = socket.create_connection(("web.test", 80), 10)
            line.sendall({REQUEST.encode()!r})
            print(line.makefile().read())
        """)
        assert "pyro: tcp port 80 is not in the allow list; asked as r7." in answer, answer


@scenario
def what_the_supervisor_does_not_record_does_not_happen(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    with supervising(path, RecordingSupervisor()) as guard, testbed.guest("web.test:7000", supervisor=path) as guest:
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        guard.fails = True
        assert RESET in guest.reached("web.test", 7000)
        guard.fails = False
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"


@scenario
def a_gateway_does_not_start_without_its_supervisor(testbed: Testbed) -> None:
    folder, log = testbed.folder / "sockets", testbed.folder / "network.log"
    absent = testbed.folder / "absent"
    with pytest.raises(HostNotReady, match="does not answer"), launch_gateway(folder, log, Rules(), supervisor=absent):
        raise AssertionError("it started")


@scenario
def a_gateway_ends_with_its_supervisor_and_the_supervisor_sees_its_end(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    with supervising(path, RecordingSupervisor()) as guard:
        with testbed.guest(supervisor=path) as guest:
            assert guest.reached(WEB, 7000) == f"{WEB} 7000"
            assert not guard.gateway.wait(0)
            guard.gateway.close()
            assert guest.control.wait_for_end(5)
            assert "timed out" in guest.reached(WEB, 7000) or "unreachable" in guest.reached(WEB, 7000)
        with testbed.guest(supervisor=path) as guest:
            assert guest.reached(WEB, 7000) == f"{WEB} 7000"
            guest.close_lifetime()
            assert guard.gateway.wait(10)
