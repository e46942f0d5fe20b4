"""The folder of a server's data: one server at a time, and copies of its database."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from moot.server.admin import backups
from moot.server.admin.operator import Operator
from moot.server.database.database import Database
from moot.server.settings import Settings
from pyro_mcp.errors import HostNotReady, InvalidRequest, NotFound, PyroError
from tests.moot.server.conftest import team_in
from tests.moot.server.running import Server, free_port, moot, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with SQLite."""
    with running(tmp_path_factory.mktemp("moot")) as made:
        yield made


def test_a_second_server_on_the_same_data_is_refused(server: Server) -> None:
    result = moot("serve", "--data-dir", str(server.data), "--port", str(free_port()))

    assert result.returncode == 4 and str(server.data) in result.stderr


def test_a_backup_while_the_server_runs_can_be_restored(server: Server, space: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    server.person.post(f"/api/spaces/{space}/events", {"text": "before the backup"})

    assert moot("server", "backup", str(copy), "--data-dir", str(server.data)).returncode == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    assert moot("server", "backup", str(copy), "--data-dir", str(server.data)).returncode == 4
    assert moot("server", "restore", str(copy), "--data-dir", str(server.data)).returncode == 4
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    assert moot("server", "restore", str(copy), "--data-dir", str(other)).returncode == 0
    assert moot("server", "doctor", "--data-dir", str(other)).returncode == 0
    found = json.loads(moot("--json", "server", "space", "list", "--data-dir", str(other)).stdout)
    mine = next(one for one in found["spaces"] if one["space_id"] == space)
    assert mine["event_count"] == server.person.get(f"/api/spaces/{space}")["event_count"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the database of a team."""
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    with closing(Database(made / "space.db")) as database:
        database.upgrade()
        team = team_in(database)
        for number in range(200):
            team.post(team.spec, f"message {number}: " + "x" * 500)
    return made


def damage(database: Path) -> None:
    """Overwrite all pages of a database but the first."""
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))


@pytest.mark.parametrize("damaged", ["pages", "header"])
def test_a_damaged_database_is_said_to_be_damaged(folder: Path, damaged: str, tmp_path: Path) -> None:
    copy, data = tmp_path / "copy.db", ("--data-dir", str(folder))
    Operator(Settings(folder)).backup(copy)
    if damaged == "pages":
        damage(folder / "space.db")
    else:
        (folder / "space.db").write_bytes(b"no database at all" * 500)

    found = moot("serve", "--port", str(free_port()), *data)
    assert found.returncode == 5 and "Traceback" not in found.stderr and "restore FILE" in found.stderr
    operator = Operator(Settings(folder))
    assert "damaged" in "".join(one.problem for one in operator.checks())
    with pytest.raises(HostNotReady, match="damaged"):
        operator.tokens("Person")
    with pytest.raises(HostNotReady, match="doctor"):
        operator.backup(tmp_path / "second.db")
    assert not (tmp_path / "second.db").exists()

    operator.restore(copy)
    assert [one.problem for one in operator.checks()] == [""] * 5


@pytest.mark.parametrize("version", ["9999", "0000"])
def test_a_database_of_another_version_is_told_apart(folder: Path, version: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(folder / "space.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        database.commit()
    before, data = (folder / "space.db").read_bytes(), ("--data-dir", str(folder))

    found = moot("serve", "--port", str(free_port()), *data)
    assert found.returncode == 5 and "Traceback" not in found.stderr and "upgrade pyro-mcp" in found.stderr
    operator = Operator(Settings(folder))
    assert "upgrade pyro-mcp" in operator.checks()[1].problem
    with pytest.raises(HostNotReady, match="newer"):
        operator.tokens("Person")
    assert (folder / "space.db").read_bytes() == before
    shutil.copy(folder / "space.db", tmp_path / "new.db")
    with pytest.raises(InvalidRequest, match="newer"):
        Operator(Settings(tmp_path / "x")).restore(tmp_path / "new.db")


def test_a_restore_on_a_new_machine_makes_the_folder(folder: Path, tmp_path: Path) -> None:
    copy, data = tmp_path / "copy.db", tmp_path / "fresh/deeper"
    Operator(Settings(folder)).backup(copy)

    Operator(Settings(data)).restore(copy)

    assert [one.problem for one in Operator(Settings(data)).checks()] == [""] * 5
    assert data.stat().st_mode & 0o777 == 0o700


def test_each_restore_keeps_the_database_before_it(folder: Path, tmp_path: Path) -> None:
    operator, copy = Operator(Settings(folder)), tmp_path / "copy.db"
    operator.backup(copy)
    for name in ("one", "two"):
        operator.add_user(name, tenant_id=None, template="loop-3")
        operator.restore(copy)

    for kept, name in (("space.db.before-restore", "one"), ("space.db.before-restore-2", "two")):
        (tmp_path / name).mkdir(mode=0o700)
        shutil.copy(folder / kept, tmp_path / name / "space.db")
        assert Operator(Settings(tmp_path / name)).tokens(name)
    with pytest.raises(NotFound):
        operator.tokens("two")


def test_a_restore_that_is_killed_leaves_a_whole_database(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, copy = Operator(Settings(folder)), tmp_path / "copy.db"
    operator.backup(copy)
    operator.add_user("one", tenant_id=None, template="loop-3")

    class Killed(BaseException):
        pass

    def at_each_step(step: int) -> None:
        """Let the restore end before its step of this number that changes the folder."""
        left = [step]

        def count(work: object, *arguments: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return work(*arguments)  # type: ignore[operator]

        with monkeypatch.context() as patch:
            for owner, name in ((os, "link"), (Path, "replace")):
                real = getattr(owner, name)
                patch.setattr(owner, name, lambda *given, real=real: count(real, *given))
            operator.restore(copy)

    for step in range(2):
        with pytest.raises(Killed):
            at_each_step(step)
        assert operator.tokens("one")
        assert [one.problem for one in operator.checks()] == [""] * 5
    at_each_step(100)
    with pytest.raises(NotFound):
        operator.tokens("one")


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%41b", "ä b", "a\udcffb"])
def test_a_path_may_have_any_characters(name: str, tmp_path: Path) -> None:
    data, copy = tmp_path / name, tmp_path / f"{name}.db"
    data.mkdir(mode=0o700)
    with closing(Database(data / "space.db")) as database:
        database.upgrade()
        team_in(database)
    operator = Operator(Settings(data))

    operator.backup(copy)
    operator.restore(copy)

    assert [one.problem for one in operator.checks()] == [""] * 5
    assert sorted(os.listdir(tmp_path)) == sorted([name, f"{name}.db"])


def test_the_files_of_a_server_are_private(server: Server) -> None:
    server.person.post("/api/spaces", {})

    modes = {path.name: path.stat().st_mode & 0o777 for path in server.data.iterdir()}
    assert modes.pop("server.lock") <= 0o600
    assert {"space.db", "space.db-wal"} <= set(modes) and set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    ("days", "name"),
    [(0, "laptop"), (-1, "laptop"), (99_999_999, "laptop"), (None, "x" * 65), (None, ""), (None, "a\nb")],
)
def test_a_token_that_cannot_be_is_refused(folder: Path, days: int | None, name: str) -> None:
    with pytest.raises(InvalidRequest):
        Operator(Settings(folder)).create_token(None, name, expires_in_days=days)


def test_words_that_are_not_text_are_refused(folder: Path) -> None:
    data = ("--data-dir", str(folder))
    for words in (("user", "add", "bad\udcff"), ("token", "list", "--user", "\udcff")):
        found = moot("server", *words, *data)
        assert found.returncode == 2 and "Traceback" not in found.stderr, found.stderr


def test_a_space_is_pruned_in_portions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moot.server.events.pruning._MOST_AT_ONCE", 30)
    operator = Operator(Settings(folder))

    assert operator.prune("spc_1", None, keep=50) == 150
    [(_, found)] = operator.spaces()
    assert (found.event_count, found.last_sequence) == (50, 200)


def test_a_backup_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(PyroError):
        backups.backup(Settings(tmp_path), tmp_path / "copy.db")
