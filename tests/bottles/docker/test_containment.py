"""What a hostile program in a container has: no right, no network but its gateway, and nothing of the host."""

from __future__ import annotations

import http.server
import io
import os
import signal
import tarfile
import threading
from collections.abc import Iterator

import pytest

from claude_bottle import state
from claude_bottle.backend.docker.bottle import DockerBottle
from pyro_mcp.network import GatewayControl
from tests.bottles.docker.conftest import Shelf
from tests.waiting import until

WAITING = ["sleep", "600"]


def said(bottle: DockerBottle, script: str) -> str:
    done = bottle.execute(["sh", "-c", script])
    return (done.stdout + done.stderr).decode()


@pytest.fixture
def site() -> Iterator[str]:
    """A server on this host's loopback, which says that it was reached."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"reached")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("user", ["agent", "root"])
def test_an_agent_has_no_right_and_nothing_of_the_host(shelf: Shelf, user: str) -> None:
    if user == "root":
        shelf.engine.call(["import", "--change=ENV A=b", "-", "as-root"], stdin=_without_agent(shelf))
    image = "oci:debian-with-agent" if user == "agent" else "oci:as-root"
    bottle = shelf.launch(WAITING, environment=image, resources={"mem_mib": 256})

    status = said(bottle, "cat /proc/self/status")
    assert {line for line in status.splitlines() if line.startswith("Cap")} == {
        f"Cap{kind}:\t{0:016x}" for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")
    }
    assert "NoNewPrivs:\t1\n" in status and said(bottle, "id -un") == f"{user}\n"
    mounted = [line.split() for line in said(bottle, "cat /proc/self/mountinfo").splitlines()]
    shown = {words[4] for words in mounted if not words[4].startswith(("/proc", "/sys", "/dev"))}
    assert shown - {"/usr/sbin/docker-init", "/sbin/docker-init"} == {
        *("/", "/workspace", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
    }
    assert "docker.sock" not in said(bottle, "find / -xdev -name '*docker*' 2>/dev/null")
    assert "cannot" in said(bottle, "mknod /workspace/disk b 8 0 || echo cannot")
    if user == "agent":
        assert "cannot" in said(bottle, "echo begin > /run/claude-bottle/begin || echo cannot")
        assert "cannot" in said(bottle, "kill -9 1 || echo cannot")
    limits = shelf.engine.inspect(bottle.container)
    assert limits is not None
    assert (limits["HostConfig"]["Memory"], limits["HostConfig"]["Privileged"]) == (256 * 1024 * 1024, False)
    assert limits["HostConfig"]["PidsLimit"] == 4096 and limits["HostConfig"]["Binds"] is None


def _without_agent(shelf: Shelf) -> bytes:
    """Return the test image as an archive without its user `agent`."""
    shelf.engine.call(["create", "--name=source", "debian-with-agent", "true"])
    try:
        shelf.engine.call(["cp", "-", "source:/etc"], stdin=_archived("passwd", b"root:x:0:0::/root:/bin/sh\n"))
        return shelf.engine.run(["export", "source"], deadline_seconds=120).stdout
    finally:
        shelf.engine.call(["rm", "--force", "source"])


def _archived(name: str, content: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def test_only_what_is_allowed_is_reached_and_each_refusal_is_logged(shelf: Shelf, site: str) -> None:
    bottle = shelf.launch(WAITING, egress=[{"host": "model.test:8000", "upstream": site}])

    assert said(bottle, "ls /sys/class/net") == "eth0\nlo\n"
    assert said(bottle, "curl -sS --max-time 20 http://model.test:8000/") == "reached"
    port = site.rpartition(":")[2]
    for address in (f"127.0.0.1:{port}", f"10.0.2.2:{port}", f"172.17.0.1:{port}", "model.test:8001", "other.test"):
        answer = said(bottle, f"curl -sS --noproxy '*' --max-time 20 http://{address}/")
        assert "reached" not in answer and "curl: (" in answer, (address, answer)
    refused = [entry for entry in bottle.network_log(limit=50) if entry["verdict"] == "refused"]
    assert "other.test" in {entry["name"] for entry in refused}


@pytest.mark.parametrize("victim", ["policy_pid", "relay_pid"])
def test_a_container_whose_gateway_is_killed_has_no_network(shelf: Shelf, site: str, victim: str) -> None:
    bottle = shelf.launch(WAITING, egress=[{"host": "model.test:8000", "upstream": site}])
    gateway = GatewayControl(state.stage_dir(bottle.slug) / "gateway")

    os.kill(getattr(gateway.info(), victim), signal.SIGKILL)

    until("eth0 is gone", lambda: said(bottle, "ls /sys/class/net"), lambda found: found == "lo\n")
    assert "reached" not in said(bottle, "curl -sS --max-time 20 http://model.test:8000/")
    assert bottle.exit_code() is None
    shelf.engine.call(["restart", "--time=0", bottle.container])  # whoever starts it again, gets no network either
    assert shelf.engine.call(["exec", bottle.container, "ls", "/sys/class/net"]) == "lo"


def test_the_gateway_ends_with_its_container(shelf: Shelf) -> None:
    bottle = shelf.launch(WAITING)
    gateway = GatewayControl(state.stage_dir(bottle.slug) / "gateway")
    assert not gateway.wait_for_end(0.1)

    shelf.engine.call(["kill", bottle.container])

    assert gateway.wait_for_end(20)
    assert bottle.exit_code() == 137


def test_a_bottle_without_egress_reaches_nothing(shelf: Shelf, site: str) -> None:
    bottle = shelf.launch(WAITING)
    assert "reached" not in said(bottle, f"curl -sS --max-time 20 {site}")
    assert "curl: (6)" in said(bottle, "curl -sS --max-time 20 http://example.com")
