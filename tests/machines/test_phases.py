"""The life of a machine as a table."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pyro_mcp.errors import Conflict
from pyro_mcp.machines.phases import UNDER_WAY, Phase, check_transition, require_phase


def allowed(actual: Phase, wanted: Phase) -> bool:
    try:
        check_transition("vm", actual, wanted)
    except Conflict:
        return False
    return True


@pytest.mark.parametrize(
    "life",
    [
        "created starting running stopping stopped starting running deleting",
        "created starting failed deleting",
        "created starting failed starting running failed deleting",
        "created deleting deleting",
        "created starting running stopping failed deleting",
    ],
)
def test_a_life_can_go_like_this(life: str) -> None:
    phases = [Phase(name) for name in life.split()]
    assert all(allowed(*pair) for pair in pairwise(phases))


@pytest.mark.parametrize("phase", Phase)
def test_every_machine_can_be_deleted_and_nothing_comes_after_that(phase: Phase) -> None:
    assert allowed(phase, Phase.DELETING)
    assert allowed(Phase.DELETING, phase) == (phase == Phase.DELETING)


@pytest.mark.parametrize("phase", Phase)
def test_only_a_start_and_a_stop_that_fails_lead_to_running(phase: Phase) -> None:
    assert allowed(phase, Phase.RUNNING) == (phase in {Phase.STARTING, Phase.STOPPING, Phase.RUNNING})


@pytest.mark.parametrize("phase", sorted(UNDER_WAY - {Phase.DELETING}))
def test_what_is_under_way_can_fail(phase: Phase) -> None:
    assert allowed(phase, Phase.FAILED)


def test_a_refusal_names_the_machine_its_phase_and_what_is_possible() -> None:
    with pytest.raises(Conflict, match=r"vm-1 is created; .* deleting, starting, not running"):
        check_transition("vm-1", Phase.CREATED, Phase.RUNNING)
    with pytest.raises(Conflict, match="vm-1 is failed; this needs it to be running or stopped") as raised:
        require_phase("vm-1", Phase.FAILED, {Phase.STOPPED, Phase.RUNNING}, hint="do this")
    assert raised.value.hint == "do this"
    require_phase("vm-1", Phase.RUNNING, {Phase.RUNNING})
