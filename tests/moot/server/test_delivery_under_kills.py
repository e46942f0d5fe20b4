"""No message is lost, doubled or out of order while connections break and the server is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.moot.server.postgresql import new_database
from tests.moot.server.running import running
from tests.moot.server.storm import weather


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_message_arrives_once_and_in_order_under_kills(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    options: tuple[str, ...] = ()
    if kind == "postgresql":
        options = ("--database-url", new_database(request.getfixturevalue("postgresql")))
    with running(tmp_path, *options) as server:
        report = weather(server, messages=200, kills=2, seed=7)

    assert report.faults == 0, report
    assert report.attempts > report.messages and report.disconnects > 8
