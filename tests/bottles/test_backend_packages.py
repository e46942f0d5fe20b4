"""Every backend is found by its name, as often as one asks."""

from __future__ import annotations

import pytest

from claude_bottle.backend.table import BACKENDS, backend_named


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_is_found_again_and_again(name: str) -> None:
    """No module of its package may be named `backend`: its import would take the place of the function."""
    assert [backend_named(name).name for _ in range(3)] == [name] * 3
