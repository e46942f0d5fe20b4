"""The values that the gateway and a supervisor exchange, over a channel whose other end may be hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyro_mcp.network import ModelRefusal, ModelRequest, ModelUsage, Reservation
from pyro_mcp.network.metering.values import NOTHING_USED, verdict_from_json

REQUEST = ModelRequest(
    api="anthropic",
    host="api.anthropic.com",
    path="/v1/messages",
    model="claude-haiku-4-5",
    most_input=1200,
    most_output=None,
    cache_writes="1h",
    unpriced=("speed",),
)


def test_every_value_survives_the_channel() -> None:
    usage = ModelUsage(input_tokens=3, cache_read_tokens=0)
    for one in (Reservation("7"), ModelRefusal("over the limit", passing=True)):
        assert verdict_from_json(json.loads(json.dumps(one.to_json()))) == one

    assert ModelRequest.from_json(json.loads(json.dumps(REQUEST.to_json()))) == REQUEST
    assert ModelUsage.from_json(json.loads(json.dumps(usage.to_json()))) == usage


@pytest.mark.parametrize(
    "change",
    [
        {"api": "other"},
        {"model": None},
        {"most_input": -1},
        {"most_input": True},
        {"most_output": 1.5},
        {"most_output": 1 << 60},
        {"rounds": 0},
        {"most_searches": None},
        {"cache_writes": "2h"},
        {"unpriced": [1]},
        {"unpriced": None},
        {"more": 1},
    ],
)
def test_what_is_no_request_is_not_taken(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a request"):
        ModelRequest.from_json({**REQUEST.to_json(), **change})


@pytest.mark.parametrize("change", [{"output_tokens": -1}, {"output_tokens": "9"}, {"searches": True}, {"more": 1}])
def test_what_is_no_usage_is_not_taken(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not the usage"):
        ModelUsage.from_json({**NOTHING_USED.to_json(), **change})


def test_a_usage_is_known_when_all_of_its_numbers_are() -> None:
    assert NOTHING_USED.is_known
    assert not ModelUsage.from_json({**NOTHING_USED.to_json(), "output_tokens": None}).is_known
    assert ModelUsage.from_json({**NOTHING_USED.to_json(), "output_tokens": None}).input_is_known
    assert not ModelUsage().input_is_known
