"""The options about secrets. What is typed as an option, other users of the host may see: a file or a variable is
the better place for a value."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any

from pyro_mcp.errors import InvalidRequest

# The end of a value that somebody may have meant as the host it is for.
_LIKE_A_HOST = re.compile(r"localhost|[\w*:\[\]-]*[.:][\w.*:\[\]-]*", re.IGNORECASE)


def secret_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the secrets of a new workspace."""
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME[@HOST[,HOST...]][=VALUE]",
        help="a secret for commands that request it with --secret-env; without =VALUE it is taken from the environment "
        "variable NAME. With @HOST it never enters the guest: a proxy adds it to HTTPS requests to that host",
    )
    parser.add_argument(
        "--secret-file",
        action="append",
        default=[],
        metavar="NAME[@HOST[,HOST...]]=PATH",
        help="the same, read from a file; - for standard input",
    )
    parser.add_argument(
        "--secret-header",
        action="append",
        default=[],
        metavar="NAME=HEADER",
        help="HTTP header that carries a host-bound secret (default Authorization)",
    )
    parser.add_argument(
        "--secret-basic",
        action="append",
        default=[],
        metavar="NAME=USERNAME",
        help="send a host-bound secret as the password of this user name, in HTTP Basic authentication",
    )
    parser.add_argument(
        "--secret-query",
        action="append",
        default=[],
        metavar="NAME=PARAMETER",
        help="send a host-bound secret as the value of this parameter of the query",
    )


def secret_env_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the secrets that a command gets."""
    parser.add_argument(
        "--secret-env",
        action="append",
        default=[],
        metavar="NAME[=VARIABLE]",
        help="pass this secret of the workspace as an environment variable; may be repeated",
    )


def given_secrets(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the secrets given by `secret_options`, as the SDK takes them; no value is in an `InvalidRequest`."""
    places = _places(arguments)
    found = [_literal(word) for word in arguments.secret]
    found += [_file(*_pair(word, "--secret-file NAME[@HOST]=PATH")) for word in arguments.secret_file]
    for name, place in places.items():
        if name not in {one["name"] for one in found}:
            raise InvalidRequest(f"--secret-{next(iter(place))} is for {name}: give that secret too, by --secret")
    return [one | places.get(str(one["name"]), {}) for one in found]


def _places(arguments: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Return the places of secrets in requests: name → {"header" | "basic" | "query": …}; several are refused later."""
    found: dict[str, dict[str, str]] = {}
    for place, meaning in (("header", "HEADER"), ("basic", "USERNAME"), ("query", "PARAMETER")):
        for word in getattr(arguments, f"secret_{place}"):
            name, text = _pair(word, f"--secret-{place} NAME={meaning}")
            found.setdefault(name, {})[place] = text
    return found


def given_secret_env(arguments: argparse.Namespace) -> dict[str, str]:
    """Return what `secret_env_option` was given: name → variable."""
    pairs = [(name, variable or name) for name, _, variable in (word.partition("=") for word in arguments.secret_env)]
    if len(dict(pairs)) < len(pairs):
        raise InvalidRequest("a secret is named twice by --secret-env")
    return dict(pairs)


def _literal(word: str) -> dict[str, Any]:
    left, has_value, value = word.partition("=")
    declared = _declared(left)
    end = value.rpartition("@")
    if not declared.keys() & {"host", "hosts"} and end[0] and _LIKE_A_HOST.fullmatch(end[2]):
        raise InvalidRequest(
            f"the value of the secret {declared['name']} ends like a host, so it could be meant for that host alone",
            hint="for a host write --secret NAME@HOST=VALUE; a value that ends so is given by --secret-file NAME=PATH, "
            "or by pyro's own variable: --secret NAME",
        )
    return declared | {"value": value if has_value else _of_environment(declared["name"])}


def _declared(text: str) -> dict[str, Any]:
    """Return the name, and the hosts if any are given: NAME, NAME@HOST or NAME@HOST,HOST."""
    name, bound, host = text.partition("@")
    if not bound:
        return {"name": name}
    return {"name": name, "hosts": host.split(",")} if "," in host else {"name": name, "host": host}


def _of_environment(name: str) -> str:
    if name not in os.environ:
        raise InvalidRequest(
            "a --secret has no value, and pyro has no variable of its name",
            hint="write --secret NAME=VALUE, or --secret-file NAME=PATH",
        )
    return os.environ[name]


def _file(left: str, path: str) -> dict[str, Any]:
    declared = _declared(left)
    if path != "-":
        return declared | {"file_path": path}
    try:
        return declared | {"value": sys.stdin.buffer.read().decode()}
    except UnicodeDecodeError:
        raise InvalidRequest(f"the secret {declared['name']}: what stdin gives is not text in UTF-8") from None


def _pair(word: str, form: str) -> tuple[str, str]:
    name, has, rest = word.partition("=")
    if not (has and rest):
        raise InvalidRequest(f"an option is not of the form {form}")
    return name, rest
