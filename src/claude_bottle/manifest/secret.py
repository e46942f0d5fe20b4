"""The source of a secret, the hosts that it goes to, and its place in a request."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from claude_bottle.manifest.egress import host_of_url
from claude_bottle.manifest.fields import Line, Model, Variable, matching, some
from claude_bottle.manifest.problems import shortened
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.host.regular_file import NotSmallAndRegular, read_regular

_LARGEST_VALUE = 64 * 1024
_PARAMETER = re.compile(r"[A-Za-z0-9._~-]{1,128}", re.ASCII)  # unreserved characters of RFC 3986
_USER = re.compile(r"[!-9;-~]{1,128}", re.ASCII)  # RFC 7617: no colon


class SecretConfig(Model):
    """A secret without its value. In the guest, the variable of the same name holds a placeholder.

    The gateway puts the value into HTTPS requests to its hosts, in the place that `header`, `basic` or `query` names.
    """

    env: Variable | None = None
    """The environment variable of this computer that holds the value."""
    file: Line | None = None
    """The file of this computer that holds the value, instead of `env`; begins with `/` or `~/`."""
    hosts: Annotated[tuple[str, ...], Field(strict=False, json_schema_extra={"minItems": 1}), AfterValidator(some)]
    """The full names of the hosts that receive the value."""
    header: str | None = None
    """The header field for the value; `Authorization` if no `header`, `basic` or `query` is given."""
    basic: Annotated[str, AfterValidator(matching(_USER, "must be ASCII without spaces and colons"))] | None = None
    """The user name whose password in Basic authentication is the value."""
    query: Annotated[str, AfterValidator(matching(_PARAMETER, "is not the name of a parameter of a URL"))] | None = None
    """The URL parameter for the value."""
    ask: bool = False
    """Whether a person must approve the use of the secret while the agent runs."""

    @model_validator(mode="before")
    @classmethod
    def _as_declared(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError('must not hold the value; write where it comes from: {"env": VARIABLE, "hosts": [NAME]}')
        if isinstance(value, dict) and not value.keys() & {"header", "basic", "query"}:
            return {**value, "header": "Authorization"}
        return value

    @field_validator("file")
    @classmethod
    def _same_from_everywhere(cls, path: str | None) -> str | None:
        if path is not None and not path.startswith(("/", "~/")):
            raise ValueError("must be a path that begins with / or ~/")
        return path

    @field_validator("hosts")
    @classmethod
    def _full_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _fits(host=host):
                near = host_of_url(host).partition(":")[0]
                meant = f"; did you mean {near!r}?" if near and near != host and _fits(host=near) else ""
                what = "is not the full name of one host, such as api.example.com, in lower case"
                raise ValueError(f"{shortened(host)!r} {what}{meant}")
        return hosts

    @field_validator("header")
    @classmethod
    def _field_for_secrets(cls, header: str | None) -> str | None:
        if header is not None and not _fits(header=header):
            raise ValueError("is not a header field for secrets; use one such as Authorization or X-Api-Key")
        return header

    @model_validator(mode="after")
    def _one_source_and_one_place(self) -> SecretConfig:
        if (self.env is None) == (self.file is None):
            raise ValueError("needs one of env (a variable of this host) and file (a path), but not both")
        if sum(one is not None for one in (self.header, self.basic, self.query)) != 1:
            raise ValueError("must have only one of header, basic and query")
        return self

    def value(self, name: str) -> str:
        """Return the value of this secret, whose name is `name`, without a line break at its end.

        Raises `InvalidRequest`, whose message never has the value.
        """
        if self.env is not None:
            if not (found := os.environ.get(self.env)):
                raise InvalidRequest(
                    f"the secret {name} is the variable {self.env} of this host, which is not set",
                    hint=f"set {self.env}, or give the secret a file",
                )
            return found
        path = Path(str(self.file)).expanduser()
        try:
            text = read_regular(path, most=_LARGEST_VALUE)[0].decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise InvalidRequest(f"the secret {name}: {path} is not text in UTF-8", hint="write it as UTF-8") from None
        except (OSError, NotSmallAndRegular) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise InvalidRequest(
                f"the secret {name} cannot be read from {path}: {why}",
                hint="correct the file, or name another one in the manifest",
            ) from None
        if not text:
            raise InvalidRequest(f"the secret {name}: {path} is empty", hint="write the value into the file")
        return text


def _fits(*, host: str = "api.example.com", header: str = "Authorization") -> bool:
    """Return whether the gateway takes a secret for this host and this header field."""
    from pyro_mcp.network import HostSecret  # noqa: PLC0415 - slow to import, and many commands need no secret

    try:
        HostSecret("NAME", placeholder="placeholder", value="value", host=host, header=header)
    except InvalidRequest:
        return False
    return True
