"""The options about secrets. What is typed as an option, other users of the host may see: a file or a variable is
the better place for a value."""

from __future__ import annotations

import argparse
import os
import re
import sys

from pyro_mcp.errors import InvalidRequest

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"({_LABEL}\.)+[a-z]({_LABEL})?", re.IGNORECASE)
# An address, a pattern, a name with a port: nothing that a secret can be for, and a mistake rather than its end.
_MEANT_AS_HOST = re.compile(r"localhost|[\w*:\[\]-]*[.:][\w.*:\[\]-]*", re.IGNORECASE)


def secret_options(parser: argparse.ArgumentParser) -> None:
    """The secrets of a new workspace."""
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME[=VALUE][@HOST]",
        help="a secret for commands that name it with --secret-env; without VALUE that of pyro's own variable NAME. "
        "With @HOST it never enters the guest: HTTPS requests to that host get it in place of a placeholder",
    )
    parser.add_argument(
        "--secret-file", action="append", default=[], metavar="NAME=PATH", help="the same from a file, - for stdin"
    )
    parser.add_argument(
        "--secret-host",
        action="append",
        default=[],
        metavar="NAME=HOST",
        help="a secret's host, in an option of its own; of that secret's VALUE no @ is special then",
    )


def secret_env_option(parser: argparse.ArgumentParser) -> None:
    """The secrets that a command gets."""
    parser.add_argument(
        "--secret-env",
        action="append",
        default=[],
        metavar="NAME[=VARIABLE]",
        help="give it this secret of the workspace in an environment variable; may be repeated",
    )


def given_secrets(arguments: argparse.Namespace) -> list[dict[str, str]]:
    """What `secret_options` were given, as the SDK takes it; raises `InvalidRequest`, which tells no value."""
    hosts = dict(_pair(word, "--secret-host NAME=HOST") for word in arguments.secret_host)
    found = [_literal(word, hosts) for word in arguments.secret]
    found += [_file(*_pair(word, "--secret-file NAME=PATH")) for word in arguments.secret_file]
    unknown = hosts.keys() - {one["name"] for one in found}
    if unknown:
        raise InvalidRequest(f"--secret-host is for {', '.join(sorted(unknown))}, which no --secret gives")
    return [one | ({"host": hosts[one["name"]]} if one["name"] in hosts else {}) for one in found]


def given_secret_env(arguments: argparse.Namespace) -> dict[str, str]:
    """What `secret_env_option` was given: name → variable."""
    pairs = [(name, variable or name) for name, _, variable in (word.partition("=") for word in arguments.secret_env)]
    if len(dict(pairs)) < len(pairs):
        raise InvalidRequest("a secret is named twice by --secret-env")
    return dict(pairs)


def _literal(word: str, hosts: dict[str, str]) -> dict[str, str]:
    name, has_value, value = word.partition("=")
    before, _, host = (value if has_value else name).rpartition("@")
    # An address book's me@example.com is a host to us: --secret-host, or a file, is for values that end like one.
    bound = before and _HOST.fullmatch(host) is not None and name not in hosts
    if before and not bound and name not in hosts and _MEANT_AS_HOST.fullmatch(host):
        raise InvalidRequest(
            f"the secret {name.partition('@')[0]} is for one host, given by its full name, like api.example.com",
            hint="a value that has an @ in it and is for no host is given by --secret-file",
        )
    rest = before if bound else value if has_value else name
    if not has_value:
        name, rest = rest, _of_environment(rest)
    return {"name": name, "value": rest} | ({"host": host} if bound else {})


def _of_environment(name: str) -> str:
    if name not in os.environ:
        raise InvalidRequest(
            "a --secret has no value, and pyro has no variable of its name",
            hint="write --secret NAME=VALUE, or --secret-file NAME=PATH",
        )
    return os.environ[name]


def _file(name: str, path: str) -> dict[str, str]:
    if path != "-":
        return {"name": name, "file_path": path}
    try:
        return {"name": name, "value": sys.stdin.buffer.read().decode()}
    except UnicodeDecodeError:
        raise InvalidRequest(f"the secret {name}: what stdin gives is not text in UTF-8") from None


def _pair(word: str, form: str) -> tuple[str, str]:
    name, has, rest = word.partition("=")
    if not (has and rest):
        raise InvalidRequest(f"an option is not of the form {form}")
    return name, rest
