"""Which hosts of a bottle with a budget are counted, and which would lead around it."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bottle.backend.gateway_policy import allowed, rules_of
from claude_bottle.budget.model_hosts import meter_problems, meter_warnings
from claude_bottle.errors import ManifestError
from claude_bottle.manifest import Manifest

BUDGET: dict[str, Any] = {"usd": 1}


def manifest(agent: dict[str, Any] | None = None, **bottle: Any) -> Manifest:
    return Manifest.from_json_obj({"bottles": {"b": bottle}, "agents": {"a": {"bottle": "b", **(agent or {})}}})


def problems(found: Manifest) -> list[str]:
    return list(meter_problems(allowed(found, "a"), found.bottle("b")))


def warnings(found: Manifest) -> list[str]:
    return list(meter_warnings(allowed(found, "a"), found.bottle("b")))


def test_the_model_of_the_harness_is_counted_with_a_budget_and_not_without() -> None:
    assert rules_of(manifest(budget=BUDGET), "a").metered_hosts == ("api.anthropic.com",)
    assert rules_of(manifest({"harness": "codex"}, budget=BUDGET), "a").metered_hosts == ("api.openai.com",)
    assert rules_of(manifest(), "a").metered_hosts == ()


def test_a_listed_host_of_a_model_is_counted_with_its_limits_and_its_upstream() -> None:
    entry = {"host": "api.anthropic.com", "paths": ["/v1/messages"], "upstream": "http://127.0.0.1:9"}
    rules = rules_of(manifest(egress=[entry, "api.openai.com:443", "*.anthropic.com"], budget=BUDGET), "a")
    assert rules.meter("api.anthropic.com", 443) == rules.meter("api.anthropic.com", 80) == "anthropic"
    assert rules.meter("api.openai.com", 443) == "openai"
    assert rules.request_rules("api.anthropic.com", 443) and rules.upstream("api.anthropic.com", 443) == 9


def test_another_host_is_counted_when_the_manifest_says_so() -> None:
    found = manifest(
        {"harness": ["my-agent"]}, egress=[{"host": "models.example.com", "meter": "openai"}], budget=BUDGET
    )  # fmt: skip
    assert rules_of(found, "a").metered_hosts == ("models.example.com",) and problems(found) == []


def test_a_budget_without_anything_to_count_is_a_problem() -> None:
    assert problems(manifest({"harness": ["my-agent"]}, egress=["pypi.org"], budget=BUDGET)) == [
        'budget: the agent reaches no API whose requests are counted; add "meter" to an entry of egress'
    ]


def test_a_meter_without_a_budget_is_a_problem() -> None:
    found = manifest(egress=["pypi.org", {"host": "models.example.com", "meter": "openai"}])
    assert problems(found) == [
        "egress[1].meter: there is no budget to count for; add a budget, or remove the key"
    ]  # fmt: skip


def test_ways_around_a_budget_are_named() -> None:
    found = manifest(egress=["chatgpt.com", "*.openai.com", "*.example.com", "openrouter.ai"], budget=BUDGET)
    assert [one.split()[1] for one in problems(found)] == ["chatgpt.com", "openrouter.ai"]
    assert [one.split()[0] for one in warnings(found)] == ["*.openai.com"]
    assert warnings(manifest(egress=["*.openai.com"])) == []


@pytest.mark.parametrize(
    ("budget", "named"),
    [
        ({}, "sets no limit"),
        ({"prices": {"m": {"input": 1, "output": 1}}}, "sets no limit"),
        ({"day": {}}, "sets no limit"),
        ({"usd": 1, "prices": {"m": {"input": 1}}}, "both input and output"),
        ({"usd": 1, "prices": {"m": {}}}, "or a size"),
        ({"usd": 1, "prices": {"m": {"input": -1, "output": 1}}}, "must be at least 0"),
        ({"tokens": 1.5}, "tokens"),
        ({"week": {"usd": 1}}, "week"),
    ],
)
def test_a_budget_that_says_nothing_or_too_little_is_refused(budget: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        manifest(budget=budget)


def test_a_budget_with_every_key_is_taken() -> None:
    price = {"input": 1, "output": 2, "cache_read": 0, "cache_write": 1.5, "cache_write_hour": 2, "search": 0.01}
    price |= {"context_tokens": 200_000, "max_output_tokens": 8_000}
    spans = {"day": {"usd": 2}, "bottle": {"tokens": 5}}
    found = manifest(budget={"requests": 1, "tokens": 2, "usd": 0.5, **spans, "prices": {"my-model": price}})
    budget = found.bottle("b").budget
    assert budget is not None and budget.day is not None and budget.day.usd == 2
