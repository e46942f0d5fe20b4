"""Limits on the use of the model, and what models cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from claude_bottle.manifest.fields import Line, Model

_Count = Annotated[int, Field(ge=1, le=10**12)]
_Dollars = Annotated[float, Field(gt=0, le=10**6)]
_Price = Annotated[float, Field(ge=0, le=10**6)]


class BudgetLimits(Model):
    """Limits within one span of time; a request that could pass one of them is refused before it is sent."""

    requests: _Count | None = None
    """The number of requests to the model."""
    tokens: _Count | None = None
    """The number of tokens in requests and answers together."""
    usd: _Dollars | None = None
    """The cost in US dollars."""


class PriceConfig(Model):
    """What a model costs, in US dollars for a million tokens, and its sizes."""

    input: _Price | None = None
    """Tokens of requests."""
    output: _Price | None = None
    """Tokens of answers."""
    cache_read: _Price | None = None
    """Tokens of requests that are read from the cache; without this key, as much as `input`."""
    cache_write: _Price | None = None
    """Tokens of requests that are written to the cache; without this key, as much as `input`."""
    cache_write_hour: _Price | None = None
    """Tokens that are written to the cache for an hour; without this key, twice as much as `input`."""
    search: _Price | None = None
    """One search of the web by the API, in US dollars."""
    context_tokens: _Count | None = None
    """The most tokens that a request can have."""
    max_output_tokens: _Count | None = None
    """The most tokens that an answer can have if the request does not say less."""

    @model_validator(mode="after")
    def _input_and_output(self) -> PriceConfig:
        if (self.input is None) != (self.output is None):
            raise ValueError("needs both input and output, or neither")
        if self.input is None and (self.context_tokens, self.max_output_tokens) == (None, None):
            raise ValueError("needs input and output, or a size")
        return self


class BudgetConfig(BudgetLimits):
    """Limits on the use of the model in one run, in one day, and in all runs; and the prices of models."""

    day: BudgetLimits | None = None
    """The limits of one day in UTC, for all runs of the bottle together."""
    bottle: BudgetLimits | None = None
    """The limits of all runs of the bottle together."""
    prices: Annotated[dict[Line, PriceConfig], Field(max_length=256)] = Field(default_factory=dict)
    """Prices of models by name; they win over those that claude-bottle knows."""

    @model_validator(mode="after")
    def _some_limit(self) -> BudgetConfig:
        spans = (self, self.day, self.bottle)
        if not any(span and (span.requests, span.tokens, span.usd) != (None,) * 3 for span in spans):
            raise ValueError("sets no limit; add requests, tokens or usd")
        return self
