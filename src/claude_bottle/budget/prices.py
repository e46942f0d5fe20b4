"""What the models cost: a table that is shipped, and the prices of the manifest, which replace those of the table.

Amounts are whole numbers of picodollars (10^-12 dollars), so that sums are exact: a price of one dollar for a million
tokens is a million picodollars for a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pyro_mcp.network import ModelRequest, ModelUsage


PICODOLLARS = 10**12
_TABLE = Path(__file__).with_name("prices.json")
_MILLION = 10**6
_SNAPSHOT = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
_WINDOW = re.compile(r"\[\d+[km]\]$")
_SIZES = ("context_tokens", "max_output_tokens")
_Found = TypeVar("_Found")


class Unpriced(Exception):
    """A request whose cost cannot be bounded; the message says what is missing, for the guest."""


@dataclass(frozen=True)
class Most:
    """The most that a request may use."""

    input_tokens: int
    output_tokens: int
    tokens: int
    cost: int | None
    """In picodollars; None for a model without a price."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """The price of a model in picodollars, for one token or one search of the web.

    A request with more than `long_from` input tokens costs `long_input` and `long_output` times as much.
    """

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_hour: int
    search: int | None
    long_from: int | None
    long_input: Decimal
    long_output: Decimal

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Price:
        """Return the price that a table or a manifest gives, in dollars for a million tokens and for one search."""
        plain = given["input"]
        written = given.get("cache_write") or plain
        search = given.get("search")
        return cls(
            input=picodollars(plain) // _MILLION,
            output=picodollars(given["output"]) // _MILLION,
            cache_read=picodollars(given["cache_read"] if given.get("cache_read") is not None else plain) // _MILLION,
            cache_write=picodollars(written) // _MILLION,
            cache_write_hour=picodollars(given.get("cache_write_hour") or max(written, 2 * plain)) // _MILLION,
            search=None if search is None else picodollars(search),
            long_from=given.get("long_from"),
            long_input=_decimal(given.get("long_input") or 1),
            long_output=_decimal(given.get("long_output") or 1),
        )

    def cost(self, usage: ModelUsage) -> int:
        """Return what a usage costs; all its numbers must be known."""
        plain, read = usage.input_tokens or 0, usage.cache_read_tokens or 0
        short, hour = usage.cache_write_tokens or 0, usage.cache_write_hour_tokens or 0
        entered = plain * self.input + read * self.cache_read + short * self.cache_write + hour * self.cache_write_hour
        left = (usage.output_tokens or 0) * self.output
        searched = (usage.searches or 0) * (self.search or 0)
        return self._long(entered, left, plain + read + short + hour) + searched

    def most(self, request: ModelRequest, input_tokens: int, output_tokens: int) -> int:
        """Return the most that a request costs with so many tokens in each of its rounds."""
        dearest = {"": self.input, "5m": self.cache_write, "1h": self.cache_write_hour}[request.cache_writes]
        per_token = max(self.input, self.cache_read, dearest)
        entered = input_tokens * request.rounds  # all rounds together may decide about the price of each
        whole = self._long(entered * per_token, output_tokens * request.rounds * self.output, entered)
        return whole + request.most_searches * (self.search or 0)

    def _long(self, entered: int, left: int, input_tokens: int) -> int:
        if self.long_from is None or input_tokens <= self.long_from:
            return entered + left
        return int((entered * self.long_input + left * self.long_output).to_integral_value(ROUND_CEILING))


@dataclass(frozen=True)
class _Model:
    price: Price | None
    context_tokens: int | None
    max_output_tokens: int | None


class Prices:
    """The prices of models by name: those that the manifest gives, and for other models the shipped ones.

    A snapshot has the price of its own name, or else that of its model. A manifest that gives only sizes of a model
    keeps its shipped price.
    """

    def __init__(self, given: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._given = {name: _completed(name, fields) for name, fields in (given or {}).items()}

    def most(self, request: ModelRequest, *, priced: bool) -> Most:
        """Return the most that a request may use. Raises `Unpriced`; for an unknown cost, only with `priced`."""
        model = self._model(request.model) or _Model(None, None, None)
        key = f'budget.prices."{request.model}"'
        window = [one for one in (request.most_input, model.context_tokens) if one is not None]
        if not window:
            raise Unpriced(f"the size of its input is not known; {key}.context_tokens in the manifest would bound it")
        output = request.most_output if request.most_output is not None else model.max_output_tokens
        if output is None:
            raise Unpriced(f"it has no limit on its output; {key}.max_output_tokens in the manifest would bound it")
        tokens = (min(window) + output) * request.rounds
        if model.price is None and priced:
            raise Unpriced(
                f"the price of {request.model} is not known; add {key} with input and output to the manifest"
            )
        if priced and request.unpriced:
            raise Unpriced(f"it has parts whose price is not known: {', '.join(request.unpriced)}")
        if priced and request.most_searches and model.price is not None and model.price.search is None:
            raise Unpriced(f"the price of a search of the web is not known; add {key}.search to the manifest")
        cost = None if model.price is None else model.price.most(request, min(window), output)
        return Most(min(window), output, tokens, cost)

    def cost(self, name: str, usage: ModelUsage) -> int | None:
        """Return what a known usage of a model costs; None for a model without a price."""
        model = self._model(name)
        return None if model is None or model.price is None else model.price.cost(usage)

    def _model(self, name: str) -> _Model | None:
        return _found(name, self._given) or _shipped_model(name)


def dollars(picodollars: int) -> str:
    """Return an amount for a person, rounded up: "$0.41", and below ten cents with at least two digits."""
    amount = Decimal(picodollars) / PICODOLLARS
    last = -2 if amount >= Decimal("0.1") or not picodollars else max(-12, min(-4, amount.adjusted() - 1))
    return f"${amount.quantize(Decimal(1).scaleb(last), ROUND_CEILING):f}"


def picodollars(amount: float) -> int:
    """Return an amount of dollars in picodollars, rounded up."""
    return int((_decimal(amount) * PICODOLLARS).to_integral_value(ROUND_CEILING))


@cache
def _shipped() -> Mapping[str, Mapping[str, Any]]:
    groups = json.loads(_TABLE.read_text())
    return {name: fields for group in groups for name, fields in group["models"].items()}


@cache
def _shipped_model(name: str) -> _Model | None:
    fields = _found(name, _shipped())
    return None if fields is None else _model(fields)


def _completed(name: str, given: Mapping[str, Any]) -> _Model:
    """Return what a manifest gives of a model, with the shipped sizes, and with the shipped price if it gives none."""
    shipped = _found(name, _shipped()) or {}
    own = {key: value for key, value in given.items() if value is not None}
    kept = shipped if "input" not in own else {key: shipped[key] for key in _SIZES if key in shipped}
    return _model({**kept, **own})


def _model(fields: Mapping[str, Any]) -> _Model:
    price = Price.from_json(fields) if fields.get("input") is not None else None
    return _Model(price, fields.get("context_tokens"), fields.get("max_output_tokens"))


def _found(name: str, models: Mapping[str, _Found]) -> _Found | None:
    """Return what is listed of a model: under its name, without the size of its window, or without its snapshot."""
    plain = _WINDOW.sub("", name)
    return next((models[one] for one in (name, plain, _SNAPSHOT.sub("", plain)) if one in models), None)


def _decimal(value: float) -> Decimal:
    return Decimal(str(value))
