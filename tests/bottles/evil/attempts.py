"""All attempts, in the order in which they are made: the last ones end the bottles."""

from __future__ import annotations

from tests.bottles.evil import (
    budget_attempts,
    end_attempts,
    file_attempts,
    git_attempts,
    neighbour_attempts,
    network_attempts,
    people_attempts,
    secret_attempts,
)
from tests.bottles.evil.record import attempts_of

_GROUPS = (
    network_attempts,
    secret_attempts,
    file_attempts,
    git_attempts,
    people_attempts,
    budget_attempts,
    neighbour_attempts,
    end_attempts,
)
ATTEMPTS = {one.id: one for group in _GROUPS for one in attempts_of(group.__name__)}
"""All attempts by their id, in the order in which they are made."""
