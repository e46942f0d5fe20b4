"""What an agent may ask a person for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from claude_bottle.manifest.fields import Model, not_repeated
from claude_bottle.manifest.problems import kind_of

Capability = Literal["host", "push", "secret", "budget", "time"]
_DAY = 24 * 3600


class SuperviseConfig(Model):
    """What the agent may ask a person for; also written as `true` for all of it, or `false` for nothing."""

    capabilities: Annotated[
        tuple[Capability, ...], Field(strict=False, json_schema_extra={"minItems": 1}), AfterValidator(not_repeated)
    ] = ("host", "push", "secret", "budget", "time")
    """What the agent may ask for: a `host`, a `push`, the use of a `secret`, more `budget`, more `time`."""
    ask_when_refused: bool = False
    """Whether a refused connection to a host becomes a request by itself."""
    timeout_seconds: Annotated[float, Field(ge=1, le=_DAY)] = 900
    """The time that a request waits for a person; after it, the request is denied."""
    grant_seconds: Annotated[float, Field(ge=1, le=7 * _DAY)] = 3600
    """The time that an approval lasts."""

    @model_validator(mode="before")
    @classmethod
    def _all_of_it(cls, value: Any) -> Any:
        if value is True:
            return {}
        if not isinstance(value, dict | SuperviseConfig):
            raise ValueError(f"must be true, false or an object (in TOML: a table), not {kind_of(value)}")
        return value
