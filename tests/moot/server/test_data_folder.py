"""The folder of a server's data: one server at a time, and copies of its database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

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
