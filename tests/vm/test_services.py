"""Services in real machines, through the SDK."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import Conflict, DeadlineExceeded, GuestFailed, InvalidRequest, NotFound
from pyro_mcp.results import ServiceInfo
from tests.waiting import until

SERVE = "exec python3 -m http.server 8080 --bind 127.0.0.1"
FOREVER = "while :; do sleep 0.1; done"
DEADLINE = 60.0


@pytest.fixture
def workspace(pyro: Pyro) -> Iterator[str]:
    """A running workspace."""
    secrets = [{"name": "TOKEN", "value": "hunter2-and-more"}]
    id_ = pyro.create_workspace("debian:12", secrets=secrets)["workspace_id"]
    yield id_
    pyro.delete_workspace(id_)


def programs(pyro: Pyro, id_: str) -> list[str]:
    """Return the names of the programs that run in a workspace."""
    return pyro.exec_workspace(id_, command="cat /proc/[0-9]*/comm")["stdout"].splitlines()


def until_state(pyro: Pyro, id_: str, accept: Callable[[str], bool]) -> ServiceInfo:
    """Wait until `accept` is true of the state of the service `app`, and return its status."""
    return until(
        "the service's next state",
        lambda: pyro.status_service(id_, "app"),
        lambda status: accept(status["state"]),
        deadline_seconds=DEADLINE,
    )


@pytest.mark.parametrize(
    ("command", "readiness"),
    [
        (f"sleep 0.3; touch .ready; {FOREVER}", {"type": "file", "path": ".ready"}),
        (SERVE, {"type": "tcp", "port": 8080}),
        (SERVE, {"type": "http", "url": "http://127.0.0.1:8080/"}),
        (SERVE, {"type": "http", "url": "http://localhost:8080/none", "status": 404}),
        (f"sleep 0.3; touch /tmp/x; {FOREVER}", {"type": "command", "command": "test -e /tmp/x"}),
        (FOREVER, None),
    ],
)
def test_a_service_runs_once_it_is_ready(
    pyro: Pyro, workspace: str, command: str, readiness: dict[str, object] | None
) -> None:
    started = pyro.start_service(workspace, "app", command=command, readiness=readiness)
    assert (started["state"], started["exit_code"]) == ("running", None)
    assert Pyro().status_service(workspace, "app")["state"] == "running"
    status = pyro.status_workspace(workspace)
    assert (status["service_count"], status["running_service_count"]) == (1, 1)
    assert pyro.stop_service(workspace, "app")["state"] == "stopped"
    assert pyro.status_workspace(workspace)["running_service_count"] == 0


def test_a_service_that_dies_during_its_start_tells_its_last_lines(pyro: Pyro, workspace: str) -> None:
    with pytest.raises(GuestFailed, match=r"ended with 3 before it was ready(.|\n)*no database"):
        pyro.start_service(
            workspace, "app", command="echo no database >&2; exit 3", readiness={"type": "tcp", "port": 1}
        )
    status = pyro.status_service(workspace, "app")
    assert (status["state"], status["exit_code"]) == ("failed", 3)
    assert pyro.logs_service(workspace, "app")["stderr"] == "no database\n"


def test_a_service_that_is_not_ready_in_time_does_not_run_any_more(pyro: Pyro, workspace: str) -> None:
    with pytest.raises(DeadlineExceeded, match=r"not ready within 0\.5 s"):
        pyro.start_service(
            workspace,
            "app",
            command=f"echo waiting; {FOREVER}",
            readiness={"type": "file", "path": "never"},
            ready_timeout_seconds=0.5,
        )
    assert pyro.status_service(workspace, "app")["state"] == "failed"
    assert "sleep" not in programs(pyro, workspace)


def test_a_service_that_ends_later_is_reported_as_exited(pyro: Pyro, workspace: str) -> None:
    pyro.start_service(workspace, "app", command="echo up; while [ ! -e stop ]; do sleep 0.05; done; exit 6")
    pyro.exec_workspace(workspace, command="touch stop")
    status = until_state(pyro, workspace, lambda state: state != "running")
    assert (status["state"], status["exit_code"]) == ("exited", 6)


def test_several_services_run_at_once_and_a_name_is_given_once(pyro: Pyro, workspace: str) -> None:
    for name in ("one", "two", "three"):
        pyro.start_service(workspace, name, command=f"echo {name}; {FOREVER}")
    listed = pyro.list_services(workspace)
    assert (listed["count"], listed["running_count"]) == (3, 3)
    with pytest.raises(Conflict, match="runs already"):
        pyro.start_service(workspace, "two", command="true")
    pyro.stop_service(workspace, "two")
    assert pyro.start_service(workspace, "two", command=f"echo again; {FOREVER}")["state"] == "running"
    assert pyro.logs_service(workspace, "two")["stdout"] == "again\n"


def test_of_clients_that_start_the_same_service_at_once_exactly_one_succeeds(pyro: Pyro, workspace: str) -> None:
    def start(number: int) -> str:
        try:
            return Pyro().start_service(workspace, "app", command=f"echo {number}; {FOREVER}")["state"]
        except Conflict:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        starts = [pool.submit(start, number) for number in range(6)]
        looks = [pool.submit(Pyro().list_services, workspace) for _ in range(12)]
        told = [one.result(DEADLINE) for one in starts]
        assert {service["state"] for look in looks for service in look.result(DEADLINE)["services"]} <= {
            "starting",
            "running",
        }
    assert sorted(told) == ["refused"] * 5 + ["running"]
    # It runs, but may have done nothing yet.
    until("one program runs", lambda: programs(pyro, workspace).count("sleep"), lambda count: count == 1)
    assert pyro.logs_service(workspace, "app")["stdout"] == f"{told.index('running')}\n"


def test_a_service_can_be_stopped_while_it_starts(pyro: Pyro, workspace: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        readiness = {"type": "file", "path": "never"}
        starting = pool.submit(pyro.start_service, workspace, "app", command=FOREVER, readiness=readiness)
        until("the service starts", lambda: pyro.list_services(workspace)["running_count"], deadline_seconds=DEADLINE)
        assert Pyro().stop_service(workspace, "app")["state"] == "stopped"
        with pytest.raises((GuestFailed, Conflict)):
            starting.result(DEADLINE)
    assert pyro.status_service(workspace, "app")["state"] == "stopped"
    assert "sleep" not in programs(pyro, workspace)


def test_a_stop_ends_the_whole_group(pyro: Pyro, workspace: str) -> None:
    pyro.start_service(workspace, "app", command="setsid sleep 4242 & sleep 4243 & wait")
    assert pyro.stop_service(workspace, "app")["state"] == "stopped"
    assert "sleep" not in programs(pyro, workspace)
    assert pyro.stop_service(workspace, "app")["state"] == "stopped"


@pytest.mark.parametrize(("path", "state"), [("there", "running"), ("never", "failed")])
def test_the_next_status_settles_a_start_whose_client_was_killed(
    pyro: Pyro, workspace: str, path: str, state: str
) -> None:
    readiness = {"type": "file", "path": path}
    code = (
        f"from pyro_mcp import Pyro; Pyro().start_service({workspace!r}, 'app', command='sleep 1000', "
        f"readiness={readiness!r}, ready_timeout_seconds=1)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as client:
        until("the service is on record", lambda: pyro.list_services(workspace)["count"])
        client.kill()
    pyro.exec_workspace(workspace, command="touch there")
    assert until_state(pyro, workspace, lambda state: state != "starting")["state"] == state


def test_an_interrupted_start_leaves_nothing_running(pyro: Pyro, workspace: str) -> None:
    words = [sys.executable, "-m", "pyro_mcp.cli", "workspace", "service", "start", workspace, "app"]
    with subprocess.Popen([*words, "--command", "sleep 4242", "--ready-command", "sleep 2; false"]) as client:
        until("the service runs", lambda: programs(pyro, workspace), lambda names: "sleep" in names)
        client.terminate()
        assert client.wait(DEADLINE) == 143
    told = pyro.status_service(workspace, "app")
    assert (told["state"], told["exit_code"]) == ("failed", 143)
    lines = "for one in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $one; echo; done 2>/dev/null"
    running = pyro.exec_workspace(workspace, command=lines)["stdout"].splitlines()
    assert [line for line in running if line.startswith("sleep 4242")] == []


def test_logs_are_bounded_and_the_tail_is_shown(pyro: Pyro, workspace: str) -> None:
    pyro.start_service(
        workspace, "app", command=f"seq 1 900000; touch .done; {FOREVER}", readiness={"type": "file", "path": ".done"}
    )
    tail = pyro.logs_service(workspace, "app", tail_lines=2)
    assert (tail["stdout"], tail["truncated"]) == ("899999\n900000\n", True)
    whole = pyro.logs_service(workspace, "app", all=True)
    # Some bytes less, since what was dropped may have ended within a secret.
    assert 0 <= 4 * 1024 * 1024 - len(whole["stdout"]) < 1000 and whole["truncated"]


def test_a_secret_in_a_log_is_masked(pyro: Pyro, workspace: str) -> None:
    command = f"echo key=$KEY; touch .done; {FOREVER}"
    started = pyro.start_service(
        workspace, "app", command=command, readiness={"type": "file", "path": ".done"}, secret_env={"TOKEN": "KEY"}
    )
    assert started["secret_env"] == ["KEY"]
    assert pyro.logs_service(workspace, "app")["stdout"] == "key=[secret TOKEN]\n"


def test_a_stop_of_the_workspace_stops_its_services_and_a_reset_forgets_them(pyro: Pyro, workspace: str) -> None:
    pyro.start_service(workspace, "app", command=FOREVER)
    pyro.stop_workspace(workspace)
    assert pyro.list_workspaces()["workspaces"][0]["running_service_count"] == 0
    assert pyro.status_service(workspace, "app")["state"] == "stopped"
    pyro.start_workspace(workspace)
    assert pyro.status_service(workspace, "app")["state"] == "stopped"
    pyro.reset_workspace(workspace)
    assert pyro.list_services(workspace)["count"] == 0


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"readiness": {"type": "smoke"}}, InvalidRequest, "no readiness"),
        ({"readiness": {"type": "tcp", "port": 70000}}, InvalidRequest, "65535"),
        ({"readiness": {"type": "http", "url": "http://example.com/"}}, InvalidRequest, "its own machine"),
        ({"ready_timeout_seconds": 0}, InvalidRequest, "above 0"),
        ({"cwd": "/nowhere"}, InvalidRequest, "cannot enter"),
        ({"secret_env": ["NONE"]}, NotFound, "no secret"),
        ({"published_ports": [{"guest_port": 80}]}, Conflict, "may not publish"),
    ],
)
def test_a_service_with_invalid_options_is_refused(
    pyro: Pyro, workspace: str, options: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        pyro.start_service(workspace, "app", command="true", **options)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="no service"):
        pyro.status_service(workspace, "app")
