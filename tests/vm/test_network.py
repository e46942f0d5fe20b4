"""Networks of real machines: the policies `off` and `egress`, and stops, resets and forks of workspaces with a network.

What must not get out is shown in tests/leaks.
"""

from __future__ import annotations

import http.client
import http.server
import os
import select
import signal
import socket
import threading
from functools import partial
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest
from pyro_mcp.network.gateway.control import GatewayControl
from tests.network.recording_supervisor import RecordingSupervisor, supervising
from tests.vm.conftest import Create
from tests.vm.processes import home_of
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="/dev/net/tun is not there or not ours to open"
)


def devices(pyro: Pyro, id_: str) -> list[str]:
    """Return the network devices of a workspace."""
    return sorted(pyro.exec_workspace(id_, command="ls /sys/class/net")["stdout"].split())


def test_without_a_policy_there_is_no_device_at_all(pyro: Pyro, create: Create) -> None:
    id_ = create()
    assert devices(pyro, id_) == ["lo"]
    info = pyro.network_info_workspace(id_)
    assert (info["network_policy"], info["state"], info["guest_address"]) == ("off", "off", None)


def test_a_network_comes_back_with_its_workspace(pyro: Pyro, create: Create) -> None:
    id_ = create(network_policy="egress", allow_hosts=["example.com"])
    assert devices(pyro, id_) == ["eth0", "lo"]
    assert pyro.network_info_workspace(id_)["state"] == "up"
    pyro.stop_workspace(id_)
    assert pyro.network_info_workspace(id_)["state"] == "down"
    pyro.start_workspace(id_)
    assert pyro.network_info_workspace(id_)["state"] == "up"
    assert pyro.reset_workspace(id_)["allow_hosts"] == ["example.com"]
    fork = pyro.fork_workspace(id_)
    assert (fork["network_policy"], fork["allow_hosts"]) == ("egress", ["example.com"])
    assert pyro.network_info_workspace(fork["workspace_id"])["state"] == "up"


_ASK = """
import os, urllib.error, urllib.request
for method, path in (("POST", "/v1/x"), ("POST", "/v2/x")):
    fields = {"Authorization": "Bearer " + os.environ["KEY"]}
    request = urllib.request.Request("https://model.internal" + path, b"x", fields, method=method)
    try:
        print(urllib.request.urlopen(request, timeout=60).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode())
"""


def test_a_name_leads_to_a_server_of_the_host_whose_requests_are_checked(pyro: Pyro, create: Create) -> None:
    asked: list[str | None] = []

    class Model(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from the host")

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        upstream = f"http://127.0.0.1:{server.server_port}"
        allowed = {"host": "model.internal", "methods": ["POST"], "paths": ["/v1/*"], "upstream": upstream}
        key = {"name": "KEY", "value": "key-0123456789abcdef", "host": "model.internal"}
        id_ = create(network_policy="egress", allow_hosts=[allowed], secrets=[key])
        done = pyro.exec_workspace(id_, command=["python3", "-c", _ASK], secret_env=["KEY"])
        server.shutdown()
    assert done["stdout"].startswith("hello from the host\n403 pyro: POST /v2/x is not allowed"), done
    assert asked == [f"Bearer {key['value']}"]
    assert pyro.network_info_workspace(id_)["allow_hosts"] == [allowed]


def test_what_was_refused_is_listed_with_the_reason(pyro: Pyro, create: Create) -> None:
    id_ = create(network_policy="egress")
    lines = (
        "import socket",
        "try:",
        "    socket.create_connection(('10.1.2.3', 80), 10)",
        "except OSError as error:",
        "    print(error)",
    )
    assert "timed out" not in pyro.exec_workspace(id_, command=["python3", "-c", "\n".join(lines)])["stdout"]
    # The gateway first waits for a request, which would say more.
    [entry] = until("the refusal is logged", lambda: pyro.network_log_workspace(id_)["entries"])
    assert (entry["verdict"], entry["protocol"], entry["address"], entry["port"]) == ("refused", "tcp", "10.1.2.3", 80)
    assert "private" in entry["reason"]


def test_a_published_port_answers_on_the_hosts_loopback_until_its_service_stops(pyro: Pyro, create: Create) -> None:
    id_ = create(network_policy="egress+published-ports")
    started = pyro.start_service(
        id_,
        "app",
        command="exec python3 -m http.server 8080",
        readiness={"type": "tcp", "port": 8080},
        published_ports=[{"guest_port": 8080}],
    )
    [port] = started["published_ports"]
    assert fetched(port["host_port"]) == 200
    with pytest.raises(Conflict, match="taken"):
        pyro.start_service(id_, "two", command="sleep 9", published_ports=[{"guest_port": 1, **port}])
    pyro.stop_service(id_, "app")
    with pytest.raises(ConnectionRefusedError):
        fetched(port["host_port"])


def test_a_published_port_closes_with_its_service_without_any_call(pyro: Pyro, create: Create) -> None:
    id_ = create(network_policy="egress+published-ports")
    started = pyro.start_service(
        id_,
        "app",
        command="python3 -m http.server 8080 & while [ ! -e end ]; do sleep 0.05; done; kill $!",
        readiness={"type": "tcp", "port": 8080},
        published_ports=[{"guest_port": 8080}, {"guest_port": 8081}],
    )
    ports = [one["host_port"] for one in started["published_ports"]]
    assert fetched(ports[0]) == 200
    pyro.write_workspace_file(id_, "end", text="")
    for port in ports:
        until(f"port {port} is closed", partial(is_closed, port))
    assert pyro.network_info_workspace(id_)["published_ports"] == []


def test_a_port_whose_gateway_was_killed_is_not_listed_as_open(pyro: Pyro, create: Create) -> None:
    id_ = create(network_policy="egress+published-ports")
    started = pyro.start_service(id_, "app", command="sleep 1000", published_ports=[{"guest_port": 8080}])
    [port] = started["published_ports"]
    control = GatewayControl(home_of(id_) / "sockets")
    os.kill(control.info().relay_pid, signal.SIGKILL)
    assert control.wait_for_end(30)
    told = pyro.status_service(id_, "app")
    assert (told["state"], told["published_ports"]) == ("running", [])
    assert pyro.network_info_workspace(id_)["state"] == "down"
    with pytest.raises(ConnectionRefusedError):
        fetched(port["host_port"])


def test_a_gateway_that_is_stopped_does_not_keep_its_workspace_from_being_deleted(pyro: Pyro, create: Create) -> None:
    id_ = create(network_policy="egress")
    info = GatewayControl(home_of(id_) / "sockets").info()
    halves = [os.pidfd_open(pid) for pid in (info.policy_pid, info.relay_pid)]
    for half in halves:
        signal.pidfd_send_signal(half, signal.SIGSTOP)
    assert pyro.delete_workspace(id_)["deleted"]
    for half in halves:
        assert select.select([half], [], [], 10)[0]
        os.close(half)


def test_a_ninth_service_with_published_ports_is_refused_and_leaves_nothing(pyro: Pyro, create: Create) -> None:
    id_ = create(network_policy="egress+published-ports")
    for number in range(8):
        pyro.start_service(id_, f"app{number}", command="sleep 1000", published_ports=[{"guest_port": 80}])
    with pytest.raises(Conflict, match="8 services publish ports already"):
        pyro.start_service(id_, "more", command="sleep 1000", published_ports=[{"guest_port": 80}])
    assert len(pyro.network_info_workspace(id_)["published_ports"]) == 8
    assert pyro.list_services(id_)["running_count"] == 8
    pyro.stop_service(id_, "app0")
    pyro.start_service(id_, "more", command="sleep 1000", published_ports=[{"guest_port": 80}])
    assert pyro.exec_workspace(id_, command="grep -l sleep /proc/[0-9]*/comm | wc -l")["stdout"] == "8\n"


def is_closed(port: int) -> bool:
    """Return whether nothing listens at this port of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def fetched(port: int) -> int:
    """Return the status of a GET of / at this port of the loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"network_policy": "all"}, "no network policy"),
        ({"allow_hosts": ["example.com"]}, "without network"),
        ({"network_policy": "egress", "allow_hosts": ["*"]}, "allow"),
        ({"network_policy": "egress", "allow_hosts": ["example.com:http"]}, "port"),
    ],
)
def test_an_invalid_policy_is_refused_and_nothing_is_made(
    pyro: Pyro, create: Create, options: dict[str, object], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        create(**options)
    assert pyro.list_workspaces()["count"] == 0


def test_one_command_may_have_a_network(pyro: Pyro) -> None:
    done = pyro.run_in_vm("debian:12", command="ls /sys/class/net; cat /etc/resolv.conf", network=True)
    assert done["stdout"].split() == ["eth0", "lo", "nameserver", "10.0.2.3"]


def test_a_supervised_network_starts_only_with_its_supervisor(pyro: Pyro, create: Create, tmp_path: Path) -> None:
    path = tmp_path / "supervisor"
    with supervising(path, RecordingSupervisor()) as guard:
        id_ = create(network_policy="egress", allow_hosts=["example.com"], supervisor=path)
        refused = pyro.exec_workspace(id_, command="getent ahostsv4 elsewhere.example || echo refused")
        assert refused["stdout"] == "refused\n"
        assert "refused dns elsewhere.example:None" in guard.decisions()
        pyro.reset_workspace(id_)
        assert pyro.network_info_workspace(id_)["state"] == "up"
        guard.gateway.close()
        assert GatewayControl(home_of(id_) / "sockets").wait_for_end(10)
        assert pyro.network_info_workspace(id_)["state"] == "down"
        pyro.stop_workspace(id_)
    with pytest.raises(HostNotReady, match="supervisor of this network does not answer"):
        pyro.start_workspace(id_)
    with supervising(path, RecordingSupervisor()):
        pyro.start_workspace(id_)
        assert pyro.network_info_workspace(id_)["state"] == "up"
        pyro.delete_workspace(id_)


def test_a_supervisor_takes_a_network_and_some_entries_take_a_supervisor(create: Create, tmp_path: Path) -> None:
    entry = {"host": "guard.bottle.internal:80", "upstream": "supervisor"}
    with pytest.raises(InvalidRequest, match="needs a supervisor"):
        create(network_policy="egress", allow_hosts=[entry])
    with pytest.raises(InvalidRequest, match="nothing to supervise"):
        create(supervisor=tmp_path / "supervisor")
    with pytest.raises(InvalidRequest, match="absolute path"):
        create(network_policy="egress", supervisor=Path("supervisor"))
