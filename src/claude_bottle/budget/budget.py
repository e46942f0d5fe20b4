"""The budget of one run: it decides about each request to a model before that is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from claude_bottle.audit import Decision
from claude_bottle.budget.ledger import Ledger, Run, Spent
from claude_bottle.budget.limits import Amounts, Limit, amount
from claude_bottle.budget.prices import Most, Prices, Unpriced
from pyro_mcp.errors import PyroError
from pyro_mcp.network import ModelRefusal, ModelRequest, ModelUsage, Reservation

Raises = Callable[[], Iterable[Limit]]
"""A function that returns what persons have added to the limits until now; `Limit.most` is the added amount."""
Record = Callable[[Decision, str, dict[str, object]], None]
"""A function that records a decision, its rule and its subject before it takes effect; it raises `PyroError`."""


@dataclass(frozen=True)
class _Open:
    request: ModelRequest
    most: Most


class Budget:
    """The budget of `run` with its `limits`; any thread may call all methods.

    `raises` and `record` are described above. `advice` is the end of each refusal: what the agent can do.
    """

    def __init__(
        self,
        ledger: Ledger,
        run: Run,
        limits: Iterable[Limit],
        prices: Prices,
        *,
        raises: Raises = tuple,
        record: Record = lambda *_: None,
        advice: str = "",
    ) -> None:
        self._ledger, self._run, self._limits, self._prices = ledger, run, tuple(limits), prices
        self._raises, self._record, self._advice = raises, record, advice
        self._is_priced = any(limit.unit == "usd" for limit in self._limits)
        self._open: dict[int, _Open] = {}
        self._lock = threading.Lock()
        ledger.begin(run, self._limits)

    def limits(self) -> tuple[Limit, ...]:
        """Return the limits with what persons have added to them."""
        added = list(self._raises())
        return tuple(
            limit.raised(sum(one.most for one in added if (one.span, one.unit) == (limit.span, limit.unit)))
            for limit in self._limits
        )

    def announce(self) -> None:
        """Store the present limits, so that commands can show them."""
        self._ledger.begin(self._run, self.limits())

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal:
        """Reserve the most that a request may use, or refuse it. Raises `PyroError`, which refuses it too."""
        rule = "; ".join(f"{limit.span}: {amount(limit.unit, limit.most)}" for limit in self.limits())
        try:
            most = self._most(request)
        except Unpriced as error:
            return self._refuse(request, f"budget: this request is not sent: {error}", rule)
        wanted = Amounts(1, most.tokens, most.cost or 0)
        number, refused = self._ledger.reserve(self._run, self.limits(), wanted, host=request.host, model=request.model)
        if number is None:
            assert refused is not None
            return self._refuse(request, self._text(most, *refused), rule, passing=self._may_pass(wanted, *refused))
        try:
            self._record("allowed", rule, {**_what(request), "number": number, "most": _shown(wanted)})
        except PyroError:
            self._ledger.settle(number, Amounts(1), ModelUsage(), known=True)  # nothing is sent
            raise
        with self._lock:
            self._open[number] = _Open(request, most)
        return Reservation(str(number))

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        """Replace what was reserved for a request by what it has used at its end."""
        with self._lock:
            number = int(reservation) if reservation.isdecimal() else 0
            found = self._open.pop(number, None)
        if found is None:
            return  # it has ended already, or is not ours
        used = self._used(found, usage)
        self._ledger.settle(number, used, usage, known=usage.is_known)
        what = {**_what(found.request), "number": number, "used": _shown(used), "usage": usage.to_json()}
        self._record("used" if usage.is_known else "unknown", "", what)

    def _most(self, request: ModelRequest) -> Most:
        if all(limit.unit == "requests" for limit in self._limits):
            try:
                return self._prices.most(request, priced=False)
            except Unpriced:
                return Most(0, 0, 0, None)
        return self._prices.most(request, priced=self._is_priced)

    def _used(self, found: _Open, usage: ModelUsage) -> Amounts:
        """Return what a request has used; for a number that its answer did not give, the most that it may have used."""
        if not usage.input_is_known:
            return Amounts(1, found.most.tokens, found.most.cost or 0)
        parts = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_hour_tokens)
        entered = sum(one or 0 for one in parts)
        output = usage.output_tokens if usage.output_tokens is not None else found.most.output_tokens
        searches = usage.searches if usage.searches is not None else found.request.most_searches
        if not usage.is_known and found.request.rounds > 1:  # more rounds may have followed
            return Amounts(1, found.most.tokens, found.most.cost or 0)
        whole = ModelUsage(**{**usage.to_json(), "output_tokens": output, "searches": searches})
        return Amounts(1, entered + output, self._prices.cost(found.request.model, whole) or 0)

    def _may_pass(self, wanted: Amounts, limit: Limit, spent: Spent) -> bool:
        """Return whether the request may fit after the open requests of this run have ended."""
        with self._lock:
            running = list(self._open.values())
        freed = Amounts(0, sum(one.most.tokens for one in running), sum(one.most.cost or 0 for one in running))
        return (spent.total + wanted).of(limit.unit) - freed.of(limit.unit) <= limit.most

    def _refuse(self, request: ModelRequest, text: str, rule: str, *, passing: bool = False) -> ModelRefusal:
        """Return a refusal, and record it."""
        self._record("refused", rule, {**_what(request), "reason": text})
        advice = " It may fit when the requests that run now have ended." if passing else self._advice
        return ModelRefusal(f"{text}{advice}", passing=passing)

    def _text(self, most: Most, limit: Limit, spent: Spent) -> str:
        reserved = spent.reserved.of(limit.unit)
        held = f", {amount(limit.unit, reserved)} of that for requests without a known end" if reserved else ""
        wanted = {"requests": 1, "tokens": most.tokens, "usd": most.cost or 0}[limit.unit]
        could = "" if limit.unit == "requests" else (
            f"; this request could use {amount(limit.unit, wanted)} (at most {most.input_tokens:,} input and "
            f"{most.output_tokens:,} output tokens)"
        )  # fmt: skip
        return f"budget: {limit.text(spent.total.of(limit.unit))}{held}{could}, so it is not sent."


def _what(request: ModelRequest) -> dict[str, object]:
    return {"host": request.host, "path": request.path, "model": request.model}


def _shown(amounts: Amounts) -> dict[str, object]:
    return {"tokens": amounts.tokens, "usd": amount("usd", amounts.usd)}
