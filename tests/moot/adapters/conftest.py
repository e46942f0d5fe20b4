"""A team that the tests of one module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.moot.adapters.team import Team, team


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("team")) as found:
        yield found
