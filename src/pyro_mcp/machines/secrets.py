"""A workspace's secrets: kept beside its disk on the host, handed to single commands."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pyro_mcp.errors import HostNotReady, InvalidRequest, NotFound
from pyro_mcp.hints import Argument, Hint, Verb
from pyro_mcp.host.files import no_space, private_directory, write_private
from pyro_mcp.machines.network_policy import NetworkPolicy
from pyro_mcp.network import DEFAULT_HEADER, Authority, HostSecret
from pyro_mcp.redaction import Mask
from pyro_mcp.results import WorkspaceSecret

LARGEST = 64 * 1024
"""Bytes that a value may have."""
_MOST_IN_HEADERS = 24 * 1024
_MOST = 100
_MOST_HOSTS = 16
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LIST = "secrets.json"

SecretsGiven = Sequence[Mapping[str, Any]]
"""`[{"name": …, "value": …} | {"name": …, "file_path": …}]`.

A secret with a `"host"` or `"hosts"` is only for these. It may name its place in requests, if that is not the field
Authorization: another field as `"header"`, a user name as `"basic"`, or a parameter as `"query"`.
"""
_PLACES = ("header", "basic", "query")

SecretEnv = Mapping[str, str] | Sequence[str]
"""Which secrets a command gets: name → environment variable, or names that are also the variables'."""


@dataclass(frozen=True)
class Secret:
    """One secret. If it has a `host`, and maybe `more_hosts`, the guest only ever sees its `placeholder`.

    `header`, `basic` or `query` is its place in requests to these hosts, as in `HostSecret`.
    """

    name: str
    value: str = field(repr=False)
    source_kind: Literal["literal", "file"]
    host: str | None = None
    placeholder: str | None = None
    header: str | None = None
    basic: str | None = None
    query: str | None = None
    more_hosts: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The only hosts that get it; empty for a secret that commands get."""
        return () if self.host is None else (self.host, *self.more_hosts)


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
            return [self._read_one(row) for row in json.loads(listed)]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise HostNotReady(
                f"what is in {self._folder} are not a workspace's secrets any more",
                hint=Hint("{} saves the files; then make another workspace", Verb("workspace export")),
            ) from error

    def _read_one(self, row: Mapping[str, Any]) -> Secret:
        value = (self._folder / row["name"]).read_bytes().decode()
        return Secret(value=value, **{**row, "more_hosts": tuple(row.get("more_hosts", ()))})

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
            _bound(one.name, one.placeholder, one.value, host, {key: getattr(one, key) for key in _PLACES})
            for one in self.all()
            for host in one.hosts
            if one.placeholder is not None
        ]

    def authority(self, network: NetworkPolicy) -> Authority | None:
        """Return the authority of a workspace with this network; None when none of its TLS ends at the gateway.

        It signs the certificates of the secrets' hosts, and of those with rules for requests or an upstream.
        """
        hosts = [host for one in self.all() for host in one.hosts]
        hosts += network.rules().terminated_hosts
        return Authority(self._authority, hosts) if hosts else None

    def _write(self, wanted: Sequence[Secret]) -> None:
        """Write the folder of the secrets; it appears complete or not at all."""
        scratch = self._folder.with_name(f".secrets-{secrets.token_hex(4)}")
        private_directory(scratch)
        try:
            for one in wanted:
                write_private(scratch / one.name, one.value.encode())
            fields = ("name", "source_kind", "host", "placeholder", *_PLACES, "more_hosts")
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
    if sum(len(one.value) for one in found if one.hosts) > _MOST_IN_HEADERS:
        raise InvalidRequest(f"the secrets that are for hosts are larger than {_MOST_IN_HEADERS // 1024} KiB together")
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(f"the secret {name} is given twice")
    return found


def check_reach(wanted: Sequence[Secret], network: NetworkPolicy) -> None:
    """Raise `InvalidRequest` for a secret of a host that this network policy denies."""
    rules = network.rules()
    bound = [(one, host) for one in wanted for host in one.hosts]
    for one, host in bound:
        if not rules.is_local(host) and (why := rules.name_refusal(host, 443, "tcp")):
            hint = Hint("add {}", Argument("allow_hosts", [host]))
            raise InvalidRequest(f"the secret {one.name} is only for {host}: {why}", hint=hint)
        if not network.on:
            raise InvalidRequest(
                f"the secret {one.name} is only for {host}, and the workspace has no network",
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


def _secret(given: Mapping[str, Any]) -> Secret:
    known = {"name", "value", "file_path", "host", "hosts", *_PLACES}
    if not isinstance(given, Mapping) or not {"name"} <= given.keys() <= known:
        raise InvalidRequest(
            'a secret is {"name": …, "value": …} or {"name": …, "file_path": …}, with or without "host" or "hosts", '
            'and then "header", "basic" or "query"'
        )
    name, hosts = given["name"], _hosts(given)
    check_variable(name)
    if ("value" in given) == ("file_path" in given):
        raise InvalidRequest(f"the secret {name} needs either a value or a file_path")
    value = given["value"] if "value" in given else _from_file(name, given["file_path"])
    if not isinstance(value, str):
        raise InvalidRequest(f"the value of the secret {name} is text")
    kind: Literal["literal", "file"] = "literal" if "value" in given else "file"
    places = {key: given[key] for key in _PLACES if given.get(key) is not None}
    if hosts:
        value = value.rstrip("\r\n")
        placeholder = _placeholder(name, len(value))
        checked = [_bound(name, placeholder, value, host, places) for host in hosts]
        where = {"header": checked[0].header} if checked[0].in_header else places
        return Secret(name, value, kind, hosts[0], placeholder, **where, more_hosts=tuple(hosts[1:]))
    if places:
        raise InvalidRequest(
            f"the secret {name} has a {next(iter(places))} and no host", hint="say which host gets it there"
        )
    _check_value(name, value)
    return Secret(name, value, kind)


def _hosts(given: Mapping[str, Any]) -> list[Any]:
    """Return the hosts of a secret as they are given, in lower case; empty for a secret that commands get."""
    if given.get("host") is not None and given.get("hosts") is not None:
        raise InvalidRequest(f"the secret {given['name']} has a host and hosts", hint="give one of them")
    hosts = given["hosts"] if given.get("hosts") is not None else [given.get("host")]
    if not isinstance(hosts, list | tuple) or not 0 < len(hosts) <= _MOST_HOSTS:
        raise InvalidRequest(f"the hosts of the secret {given['name']} must be a list of 1–{_MOST_HOSTS} names")
    if hosts == [None]:
        return []
    named = [host.lower().rstrip(".") if isinstance(host, str) else host for host in hosts]
    return list(dict.fromkeys(named)) if all(isinstance(host, str) for host in named) else named


def _bound(name: str, placeholder: str, value: str, host: str, places: Mapping[str, str | None]) -> HostSecret:
    """Return a secret for one host; raises `InvalidRequest`."""
    return HostSecret(name, placeholder, value, host, **{key: one for key, one in places.items() if one is not None})


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
    if one.host is None:
        return described
    described["host"] = one.host
    if one.more_hosts:
        described["hosts"] = list(one.hosts)
    if one.basic is not None:
        described["basic"] = one.basic
    elif one.query is not None:
        described["query"] = one.query
    else:
        described["header"] = one.header or DEFAULT_HEADER
    return described
