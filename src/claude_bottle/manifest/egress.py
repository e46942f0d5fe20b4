"""One entry of a bottle's allow list."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from claude_bottle.manifest.fields import Model, matching, some
from pyro_mcp.errors import InvalidRequest

_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)
# Printable ASCII without a space, # and ?, and not beginning with //.
_PATH = re.compile(r"/[!\"$-.0->@-~][!\"$->@-~]*|/", re.ASCII)
_UPSTREAM = re.compile(r"http://127\.0\.0\.1:(?P<port>[0-9]{1,5})/?", re.ASCII)
_LIST = Field(strict=False, json_schema_extra={"minItems": 1})

_Method = Annotated[
    str, AfterValidator(matching(_METHOD, "is not an HTTP method: write it in capitals, for example GET or POST"))
]
_Path = Annotated[
    str, AfterValidator(matching(_PATH, "is not the path of a URL: it begins with / and has no space, ? or #"))
]


class EgressRule(Model):
    """A host that the bottle may reach; also written as the host alone, `"NAME[:PORT]"`."""

    host: str
    """A name, `*.SUFFIX`, an address or a network, with `:PORT` or `:*`; without a port it is for 80 and 443."""
    methods: Annotated[tuple[_Method, ...], _LIST, AfterValidator(some)] | None = None
    """The methods that HTTPS requests may have, in capitals; without the key all."""
    paths: Annotated[tuple[_Path, ...], _LIST, AfterValidator(some)] | None = None
    """The paths that HTTPS requests may be for, `*` for any characters: `/v1/*`; without the key all."""
    upstream: str | None = None
    """`http://127.0.0.1:PORT`: the name leads to this port of the host that we run on, and nowhere else."""

    @model_validator(mode="before")
    @classmethod
    def _host_alone(cls, value: Any) -> Any:
        return {"host": value} if isinstance(value, str) else value

    @field_validator("host")
    @classmethod
    def _entry(cls, text: str) -> str:
        from pyro_mcp.network import Rules  # noqa: PLC0415 - slow to import, and many commands need no rule

        try:
            Rules(allow=(text,))
        except InvalidRequest as error:
            raise ValueError(str(error.message)) from error
        return text

    @field_validator("upstream")
    @classmethod
    def _port_of_this_host(cls, text: str | None) -> str | None:
        found = _UPSTREAM.fullmatch(text) if text is not None else None
        if text is not None and not (found and 0 < int(found["port"]) < 65536):
            raise ValueError("is http://127.0.0.1:PORT, a port of this host")
        return text

    @property
    def upstream_port(self) -> int | None:
        """Return the port of this host that the name leads to; None when it leads to the network."""
        found = _UPSTREAM.fullmatch(self.upstream or "")
        return int(found["port"]) if found else None
