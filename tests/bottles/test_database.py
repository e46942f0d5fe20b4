"""The databases of requests, of what was spent and of tokens: their versions, and what the loss of each would mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from claude_bottle.budget.ledger import Ledger
from claude_bottle.guard.requests import Requests
from claude_bottle.page.tokens import Tokens
from pyro_mcp.errors import HostNotReady


class Closable(Protocol):
    def close(self) -> None: ...


def requests(path: Path) -> Requests:
    return Requests(path, lambda _: None)


each_database = pytest.mark.parametrize(
    ("opened", "name", "forgotten"),
    [
        (requests, "the guards' database", "all requests and approvals"),
        (Ledger, "the ledger of the budgets", "what all bottles have spent"),
        (Tokens, "the database of the page's tokens", "the links that were sent to persons"),
    ],
)


@each_database
def test_a_database_of_a_newer_version_is_refused(
    tmp_path: Path, opened: Callable[[Path], Closable], name: str, forgotten: str
) -> None:
    path = tmp_path / "some.db"
    for _ in range(2):
        opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(HostNotReady, match="newer version") as caught:
        opened(path)
    assert caught.value.hint.endswith(f"which forgets {forgotten}"), name


@each_database
def test_an_error_names_the_database_and_what_its_loss_would_forget(
    tmp_path: Path, opened: Callable[[Path], Closable], name: str, forgotten: str
) -> None:
    path = tmp_path / "some.db"
    path.write_bytes(b"not a database, but longer than a header would be" * 100)

    with pytest.raises(HostNotReady, match=f"^{name} .* cannot be used") as caught:
        opened(path)
    assert caught.value.hint.endswith(f"remove it, which forgets {forgotten}")
