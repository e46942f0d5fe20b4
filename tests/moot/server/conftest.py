"""A database with a tenant, a person and two agents for these tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from moot.server.database.database import Database
from moot.server.database.transaction import Transaction
from moot.server.events import log
from moot.server.events.log import Draft
from moot.server.identity import actors, personal
from moot.server.identity.callers import Caller, authenticate
from moot.server.results import Event
from moot.server.spaces import participants, spaces
from moot.server.spaces.spaces import Room
from tests.moot.server.postgresql import cluster, find_programs, new_database
from tests.moot.server.running import Client, Server, running

SPACE = "spc_1"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a real PostgreSQL, without the name of a database."""
    programs = find_programs()
    if programs is None:
        pytest.skip("make setup-test installs PostgreSQL")
    with cluster(programs) as url:
        yield url


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """An empty SQLite database with the newest schema."""
    made = Database(tmp_path / "space.db")
    made.upgrade()
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database with the newest schema: one of SQLite, and one of PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    made = Database(new_database(request.getfixturevalue("postgresql")))
    yield made
    made.close()


def _options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "sqlite":
        return ()
    return ("--database-url", new_database(request.getfixturevalue("postgresql")))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The options of a server with an empty database, of SQLite or PostgreSQL, for the tests of one module."""
    return _options(request)


@pytest.fixture(params=["sqlite", "postgresql"])
def own_storage(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The options of a server with an empty database for one test."""
    return _options(request)


@pytest.fixture(scope="module")
def server(storage: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server, on each kind of database."""
    with running(tmp_path_factory.mktemp("moot"), *storage) as made:
        yield made


@pytest.fixture(scope="module")
def agents(server: Server) -> dict[str, Client]:
    """The clients of the server's first agents, by their names."""
    return server.agents()


@pytest.fixture(scope="module")
def space(server: Server) -> str:
    """The id of the server's first space."""
    return server.space()


@dataclass(frozen=True)
class Team:
    """A person and two agents in one space, with their keys."""

    database: Database
    person: Caller
    spec: Caller
    qa: Caller
    keys: dict[str, str]

    def room(self) -> Room:
        return self.database.read(lambda tx: spaces.find(tx, self.person, SPACE))

    def post(self, caller: Caller, text: str, **more: object) -> Event:
        draft = Draft(text, **more)  # type: ignore[arg-type] # the fields of a draft
        return self.database.write(lambda tx: log.post(tx, caller, spaces.find_active(tx, caller, SPACE), draft))


def new_person(tx: Transaction, name: str) -> tuple[str, Caller]:
    """Make a tenant with one person; return the person's token, and the person as a caller."""
    actor_id = actors.new_human(tx, actors.new_tenant(tx, name), name)
    token = personal.create(tx, actor_id, "test").token
    return token, authenticate(tx, token)


def new_team(tx: Transaction) -> dict[str, tuple[str, Caller]]:
    """Make a tenant with a person and the agents Spec and QA, who have all joined a space."""
    token, person = new_person(tx, "Person")
    made = {"person": (token, person)}
    room = spaces.create(tx, person, SPACE, name="Workshop")
    participants.join(tx, room, person.actor_id)
    for name in ("Spec", "QA"):
        actor_id = actors.new_agent(tx, person, name, focus_space_id=SPACE)
        key = actors.rotate_key(tx, person, actor_id, force=False).api_key
        made[name.lower()] = (key, authenticate(tx, key))
        participants.join(tx, room, actor_id)
    return made


def team_in(database: Database) -> Team:
    """Make a team in an empty database."""
    made = database.write(new_team)
    callers = {name: caller for name, (_, caller) in made.items()}
    return Team(database, **callers, keys={name: key for name, (key, _) in made.items()})


@pytest.fixture
def team(database: Database) -> Team:
    return team_in(database)
