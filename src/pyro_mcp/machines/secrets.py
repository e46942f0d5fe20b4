"""A workspace's secrets: kept beside its disk on the host, handed to single commands."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pyro_mcp.errors import HostNotReady, InvalidRequest, NotFound
from pyro_mcp.hints import Argument, Hint, Verb
from pyro_mcp.host.files import no_space, private_directory, write_private
from pyro_mcp.machines.network_policy import NetworkPolicy
from pyro_mcp.network import Authority, HostSecret
from pyro_mcp.redaction import Mask
from pyro_mcp.results import WorkspaceSecret

LARGEST = 64 * 1024
"""Bytes that a value may have."""
_MOST_IN_HEADERS = 24 * 1024
_MOST = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_DEFAULT_HEADER = "Authorization"
_LIST = "secrets.json"

SecretsGiven = Sequence[Mapping[str, str]]
"""`[{"name": …, "value": …} | {"name": …, "file_path": …}]`.

Each has a `"host"` when only that host gets it, and then a `"header"` when it is for another field than Authorization.
"""

SecretEnv = Mapping[str, str] | Sequence[str]
"""Which secrets a command gets: name → environment variable, or names that are also the variables'."""


@dataclass(frozen=True)
class Secret:
    """One secret; with a `host`, the guest only ever sees its `placeholder`, and `header` is the field it is for."""

    name: str
    value: str = field(repr=False)
    source_kind: Literal["literal", "file"]
    host: str | None = None
    placeholder: str | None = None
    header: str | None = None


class Secrets:
    """The secrets of the workspace whose folder on the host is `home`; they are gone with it."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "secrets"
        self._authority = home / "authority"
        self._all: Sequence[Secret] | None = None

    def keep(self, wanted: Sequence[Secret]) -> None:
        """Keep these secrets; the workspace had none before."""
        if wanted:
            self._write(wanted)
        self._all = None

    def adopt(self, other: Secrets) -> None:
        """Copy the secrets of another workspace, with the placeholders that its files may hold."""
        self.keep(other.all())
        Authority(self._authority, []).adopt(Authority(other._authority, []))

    def all(self) -> Sequence[Secret]:
        """Return every secret, in the order given, reading the files once; raises `HostNotReady` for damaged ones."""
        if self._all is None:
            self._all = self._read()
        return self._all

    def _read(self) -> list[Secret]:
        try:
            listed = (self._folder / _LIST).read_text()
        except FileNotFoundError:
            return []
        try:
            return [
                Secret(value=(self._folder / row["name"]).read_bytes().decode(), **row) for row in json.loads(listed)
            ]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise HostNotReady(
                f"what is in {self._folder} are not a workspace's secrets any more",
                hint=Hint("{} saves the files; then make another workspace", Verb("workspace export")),
            ) from error

    def described(self) -> list[WorkspaceSecret]:
        """Return the descriptions of the secrets, without values."""
        return [_described(one) for one in self.all()]

    def environ(self, secret_env: SecretEnv | None) -> dict[str, str]:
        """Return the variables that give a command its secrets: `secret_env` is name → variable, or names alone.

        Raises `NotFound` for an unknown secret, `InvalidRequest` for an invalid variable name.
        """
        if not secret_env:
            return {}
        wanted = _wanted(secret_env)
        known = {one.name: one for one in self.all()}
        environ: dict[str, str] = {}
        for name, variable in wanted:
            if name not in known:
                hint = (
                    f"it has: {', '.join(known)}"
                    if known
                    else Hint("it has none: create it with {}", Argument("secrets"))
                )
                raise NotFound(f"the workspace has no secret {name!r}", hint=hint)
            if variable in environ:
                raise InvalidRequest(f"two secrets want the variable {variable}", hint="give one of them another")
            environ[variable] = known[name].placeholder or known[name].value
        return environ

    def mask(self) -> Mask:
        """Return the mask that hides the values in output."""
        return Mask({one.name: one.value for one in self.all()})

    def host_secrets(self) -> list[HostSecret]:
        """Return the secrets that only the gateway inserts, each for one host."""
        return [
            HostSecret(one.name, one.placeholder, one.value, one.host, one.header or _DEFAULT_HEADER)
            for one in self.all()
            if one.host is not None and one.placeholder is not None
        ]

    def authority(self, network: NetworkPolicy) -> Authority | None:
        """Return the authority of a workspace with this network; None when none of its TLS ends at the gateway.

        It signs the certificates of the secrets' hosts, and of those with rules for requests or an upstream.
        """
        hosts = [one.host for one in self.all() if one.host is not None]
        hosts += network.rules().terminated_hosts
        return Authority(self._authority, hosts) if hosts else None

    def _write(self, wanted: Sequence[Secret]) -> None:
        """Write the folder of the secrets; it appears complete or not at all."""
        scratch = self._folder.with_name(f".secrets-{secrets.token_hex(4)}")
        private_directory(scratch)
        try:
            for one in wanted:
                write_private(scratch / one.name, one.value.encode())
            fields = ("name", "source_kind", "host", "placeholder", "header")
            rows = [{key: getattr(one, key) for key in fields} for one in wanted]
            write_private(scratch / _LIST, json.dumps(rows).encode())
            scratch.rename(self._folder)
        except OSError as error:
            raise no_space(error, self._folder) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def read_secrets(given: SecretsGiven) -> list[Secret]:
    """Check the secrets of a request and read their files; raise `InvalidRequest`, which never shows a value."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence):
        raise InvalidRequest("secrets are a list", hint='for example: [{"name": "TOKEN", "file_path": "token.txt"}]')
    if len(given) > _MOST:
        raise InvalidRequest(f"a workspace has at most {_MOST} secrets, not {len(given)}")
    found = [_secret(one) for one in given]
    names = [one.name for one in found]
    if sum(len(one.value) for one in found if one.host is not None) > _MOST_IN_HEADERS:
        raise InvalidRequest(f"the secrets that are for hosts are larger than {_MOST_IN_HEADERS // 1024} KiB together")
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(f"the secret {name} is given twice")
    return found


def check_reach(wanted: Sequence[Secret], network: NetworkPolicy) -> None:
    """Raise `InvalidRequest` for a secret of a host that this network policy denies."""
    for one in wanted:
        if one.host is None:
            continue
        rules = network.rules()
        if not rules.is_local(one.host) and (why := rules.name_refusal(one.host, 443, "tcp")):
            hint = Hint("add {}", Argument("allow_hosts", [one.host]))
            raise InvalidRequest(f"the secret {one.name} is only for {one.host}: {why}", hint=hint)
        if not network.on:
            raise InvalidRequest(
                f"the secret {one.name} is only for {one.host}, and the workspace has no network",
                hint=Hint("add {}", Argument("network_policy", "egress")),
            )


def check_variable(name: str) -> None:
    """Raise `InvalidRequest` for a string that is not a valid name of an environment variable or secret."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot name a secret or its variable" if _short(name) else "that cannot name a secret",
            hint="use letters, digits and '_', not beginning with a digit",
        )


def _short(name: object) -> bool:
    """Return whether a name may be shown: a long one may be a value given by mistake."""
    return isinstance(name, str) and len(name) <= 20 and name.isprintable()


def _secret(given: Mapping[str, str]) -> Secret:
    known = {"name", "value", "file_path", "host", "header"}
    if not isinstance(given, Mapping) or not {"name"} <= given.keys() <= known:
        raise InvalidRequest(
            'a secret is {"name": …, "value": …} or {"name": …, "file_path": …}, with or without "host" and "header"'
        )
    name, host, header = given["name"], given.get("host"), given.get("header")
    check_variable(name)
    if ("value" in given) == ("file_path" in given):
        raise InvalidRequest(f"the secret {name} needs either a value or a file_path")
    value = given["value"] if "value" in given else _from_file(name, given["file_path"])
    if not isinstance(value, str):
        raise InvalidRequest(f"the value of the secret {name} is text")
    kind: Literal["literal", "file"] = "literal" if "value" in given else "file"
    if host is not None:
        value, host = value.rstrip("\r\n"), host.lower().rstrip(".") if isinstance(host, str) else host
        checked = HostSecret(name, _placeholder(name, len(value)), value, host, header or _DEFAULT_HEADER)
        return Secret(name, value, kind, host, checked.placeholder, checked.header)
    if header is not None:
        raise InvalidRequest(f"the secret {name} has a header and no host", hint="say which host gets it there")
    _check_value(name, value)
    return Secret(name, value, kind)


def _placeholder(name: str, size: int) -> str:
    """Return a random placeholder, as long as the value where possible, so that a response keeps its length."""
    begin = f"pyro-secret-{name}-"
    digits = max(16, size - len(begin))
    return begin + secrets.token_hex(-(-digits // 2))[:digits]


def _from_file(name: str, path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"the secret {name}: {path} is not text in UTF-8") from None
    except (OSError, TypeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "that is no path"
        raise InvalidRequest(f"the secret {name}: cannot read {path}: {why}") from error


def _check_value(name: str, value: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"the value of the secret {name} is not text in UTF-8") from None
    if not value:
        raise InvalidRequest(f"the value of the secret {name} is empty")
    if "\0" in value:
        raise InvalidRequest(f"the value of the secret {name} holds a NUL byte, which no variable can")
    if size > LARGEST:
        raise InvalidRequest(f"the value of the secret {name} is larger than {LARGEST // 1024} KiB")


def _wanted(secret_env: SecretEnv) -> list[tuple[str, str]]:
    if isinstance(secret_env, str | bytes) or not isinstance(secret_env, Mapping | Sequence):
        raise InvalidRequest('secret_env is {"NAME": "VARIABLE"}, or a list of names')
    pairs = list(secret_env.items()) if isinstance(secret_env, Mapping) else [(name, name) for name in secret_env]
    for name, variable in pairs:
        check_variable(name)
        check_variable(variable)
    return pairs


def _described(one: Secret) -> WorkspaceSecret:
    described: WorkspaceSecret = {"name": one.name, "source_kind": one.source_kind}
    return {**described, "host": one.host, "header": one.header or _DEFAULT_HEADER} if one.host else described
