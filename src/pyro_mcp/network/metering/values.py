"""The values that the gateway and a supervisor exchange about the requests to the API of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol, TypeGuard, get_args

Api = Literal["anthropic", "openai"]
"""The API of a model whose requests can be counted."""
APIS: tuple[Api, ...] = get_args(Api)
CacheWrites = Literal["", "5m", "1h"]


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """A request to the API of a model, before it is sent: which model, and how much it may use at most.

    A number of tokens is None where the request does not bound it, so that only the model's own limit does.
    """

    api: Api
    host: str
    path: str
    model: str
    most_input: int | None
    """The largest number of input tokens, for one round."""
    most_output: int | None
    rounds: int = 1
    """How often the API may read the input: once, and once more after each use of a tool that it runs itself."""
    most_searches: int = 0
    """How often the API may search the web, which has a price of its own."""
    cache_writes: CacheWrites = ""
    """The lifetime of what the API may write to its cache, which costs more than other input."""
    unpriced: tuple[str, ...] = ()
    """The parts of the request that may change its price in a way that is not known."""

    def to_json(self) -> dict[str, Any]:
        """Return the request in the form that `from_json` reads."""
        return {**asdict(self), "unpriced": list(self.unpriced)}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> ModelRequest:
        """Return the request that `to_json` has written; raises `ValueError` for anything else."""
        try:
            request = cls(**{**given, "unpriced": tuple(given["unpriced"])})
            texts = (request.host, request.path, request.model, *request.unpriced)
            if (
                request.api not in APIS
                or request.cache_writes not in ("", "5m", "1h")
                or not all(isinstance(text, str) for text in texts)
                or not all(is_count(one) for one in (request.most_input, request.most_output) if one is not None)
                or not (is_count(request.rounds) and request.rounds and is_count(request.most_searches))
            ):
                raise ValueError("not a request to a model")
        except (KeyError, TypeError) as error:
            raise ValueError("not a request to a model") from error
        return request


@dataclass(frozen=True, kw_only=True)
class ModelUsage:
    """What the answer to a request has used; None for what is not known."""

    input_tokens: int | None = None
    """The input tokens that were neither read from the cache nor written to it."""
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    """Written to the cache for five minutes, or as long as the API does without being asked."""
    cache_write_hour_tokens: int | None = None
    """Written to the cache for an hour."""
    output_tokens: int | None = None
    searches: int | None = None

    @property
    def input_is_known(self) -> bool:
        """Whether all numbers about the input are known."""
        parts = (self.input_tokens, self.cache_read_tokens, self.cache_write_tokens, self.cache_write_hour_tokens)
        return None not in parts

    @property
    def is_known(self) -> bool:
        """Whether all numbers are known."""
        return self.input_is_known and self.output_tokens is not None and self.searches is not None

    def to_json(self) -> dict[str, Any]:
        """Return the usage in the form that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> ModelUsage:
        """Return the usage that `to_json` has written; raises `ValueError` for anything else."""
        if given.keys() != {one.name for one in fields(cls)}:
            raise ValueError("not the usage of a model")
        if not all(one is None or is_count(one) for one in given.values()):
            raise ValueError("not the usage of a model")
        return cls(**given)


NOTHING_USED = ModelUsage(
    input_tokens=0,
    cache_read_tokens=0,
    cache_write_tokens=0,
    cache_write_hour_tokens=0,
    output_tokens=0,
    searches=0,
)
"""The usage of a request that the API has refused."""


@dataclass(frozen=True)
class Reservation:
    """The permission to send a request; its usage is reported with `id`."""

    id: str

    def to_json(self) -> dict[str, Any]:
        """Return the reservation in the form that `verdict_from_json` reads."""
        return {"reservation": self.id}


@dataclass(frozen=True)
class ModelRefusal:
    """The refusal of a request; `reason` is for the guest.

    `passing` says that the request may fit later, when requests that run now have ended.
    """

    reason: str
    passing: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the refusal in the form that `verdict_from_json` reads."""
        return {"refusal": self.reason, "passing": self.passing}


def verdict_from_json(given: Mapping[str, Any]) -> Reservation | ModelRefusal:
    """Return the reservation or the refusal that `to_json` has written; raises `ValueError` for anything else."""
    if isinstance(given.get("reservation"), str):
        return Reservation(given["reservation"])
    if isinstance(given.get("refusal"), str):
        return ModelRefusal(given["refusal"], given.get("passing") is True)
    raise ValueError("not a verdict about a request to a model")


class ModelSupervisor(Protocol):
    """The interface of a supervisor that knows the budget of a guest."""

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal:
        """Decide on a metered request before it is sent."""
        ...

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        """Take note of what a request has used: once, however its answer ends; never if the gateway is killed."""
        ...


def is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is a number of tokens or the like: an integer that 48 bits can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48
