"""Many connections: of many actors, and of one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from websockets.exceptions import InvalidStatus

from moot.server.settings import Limits
from tests.moot.server.running import Client, Server, read_until, running
from tests.waiting import until

_SOCKETS = 1000
_MOST_MEGABYTES = 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("moot")) as made:
        yield made


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open as many files as the test needs."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _SOCKETS
    if most != resource.RLIM_INFINITY and most < wanted:
        pytest.skip(f"a process may open only {most} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, wanted), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))


def new_agents(server: Server, number: int) -> list[Client]:
    made = [server.person.post("/api/actors", {"display_name": f"Agent {n}"}) for n in range(number)]
    return [Client(server.port, str(one["api_key"])) for one in made]


@pytest.mark.usefixtures("many_files")
def test_a_thousand_idle_sockets_cost_little_and_all_get_a_message(server: Server) -> None:
    space = str(server.person.post("/api/spaces", {})["space_id"])
    agents = new_agents(server, 20)
    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda number: agents[number % len(agents)].bare_socket(space), range(_SOCKETS)))
        for one in opened:
            stack.enter_context(one)
        metrics = Client(server.port).get("/metrics")
        megabytes = server.resident_megabytes()
        server.person.post(f"/api/spaces/{space}/events", {"text": "is somebody there?"})
        for one in opened:
            read_until(one, b"is somebody there?")

    assert f"moot_subscribers {_SOCKETS}\n" in metrics
    assert megabytes <= _MOST_MEGABYTES
    until("the sockets are gone", lambda: "moot_connections 0\n" in Client(server.port).get("/metrics"))


def test_an_actor_that_opens_too_many_sockets_is_told_to_wait(server: Server) -> None:
    space, most = server.space(), Limits.sockets_per_actor
    [agent] = new_agents(server, 1)
    with ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(agent.bare_socket(space))
        with pytest.raises(InvalidStatus) as refused:
            stack.enter_context(agent.live(space))

    assert refused.value.response.status_code == 429
    assert refused.value.response.headers["Retry-After"] == "1"
