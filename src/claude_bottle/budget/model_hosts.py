"""The hosts of models' APIs: those whose requests can be counted, and others that would bypass a budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from claude_bottle.manifest import BottleConfig, EgressRule

METERS: dict[str, Literal["anthropic", "openai"]] = {"api.anthropic.com": "anthropic", "api.openai.com": "openai"}
"""The API that each host serves."""
_UNCOUNTED = frozenset({
    "aiplatform.googleapis.com", "api.deepseek.com", "api.groq.com", "api.mistral.ai", "api.together.xyz", "api.x.ai",
    "chatgpt.com", "claude.ai", "generativelanguage.googleapis.com", "opencode.ai", "openrouter.ai",
})  # fmt: skip
"""Hosts that serve models by an API whose requests cannot be counted."""


def metered(rules: Sequence[EgressRule], bottle: BottleConfig) -> tuple[EgressRule, ...]:
    """Return the rules with a meter on each host of a model's API that is known, if the bottle has a budget."""
    if bottle.budget is None:
        return tuple(rules)
    return tuple(
        rule.model_copy(update={"meter": METERS[name]})
        if rule.meter is None and (name := _name(rule)) in METERS
        else rule
        for rule in rules
    )


def leads_to_models(host: str) -> bool:
    """Return whether a host is known to serve models."""
    return host in METERS or host in _UNCOUNTED


def meter_problems(rules: Sequence[EgressRule], bottle: BottleConfig) -> Iterator[str]:
    """Yield the problems of entries that contradict a budget, or that need one."""
    if bottle.budget is not None and not any(rule.meter for rule in rules):
        yield 'budget: the agent reaches no API whose requests are counted; add "meter" to an entry of egress'
    for rule in rules if bottle.budget is not None else ():
        if rule.meter is None and _name(rule) in _UNCOUNTED:
            yield f"budget: {rule.host} leads to models whose requests are not counted; remove it, or the budget"
    for number, rule in enumerate(bottle.egress):
        if rule.meter and bottle.budget is None:
            yield f"egress[{number}].meter: there is no budget to count for; add a budget, or remove the key"


def meter_warnings(rules: Sequence[EgressRule], bottle: BottleConfig) -> Iterator[str]:
    """Yield a warning for each pattern that allows more of a model's domain than the host that is counted."""
    for rule in rules if bottle.budget is not None else ():
        domain = _name(rule).removeprefix("*.")
        if rule.host.startswith("*.") and any(one.endswith(f".{domain}") for one in (*METERS, *_UNCOUNTED)):
            yield f"{rule.host} may lead to a model whose requests the budget does not count"


def _name(rule: EgressRule) -> str:
    return rule.host.partition(":")[0].lower().rstrip(".")
