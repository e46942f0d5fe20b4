"""The options about secrets. What is typed as an option, other users of the host may see: a file or a variable is
the better place for a value."""

from __future__ import annotations

import argparse
import os
import re
import sys

from pyro_mcp.errors import InvalidRequest

# The end of a value that somebody may have meant as the host it is for.
_LIKE_A_HOST = re.compile(r"localhost|[\w*:\[\]-]*[.:][\w.*:\[\]-]*", re.IGNORECASE)


def secret_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the secrets of a new workspace."""
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME[@HOST][=VALUE]",
        help="a secret for commands that request it with --secret-env; without =VALUE it is taken from the environment "
        "variable NAME. With @HOST it never enters the guest: a proxy adds it to HTTPS requests to that host",
    )
    parser.add_argument(
        "--secret-file",
        action="append",
        default=[],
        metavar="NAME[@HOST]=PATH",
        help="the same, read from a file; - for standard input",
    )
    parser.add_argument(
        "--secret-header",
        action="append",
        default=[],
        metavar="NAME=HEADER",
        help="HTTP header that carries a host-bound secret (default Authorization)",
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


def given_secrets(arguments: argparse.Namespace) -> list[dict[str, str]]:
    """Return the secrets given by `secret_options`, as the SDK takes them; no value is in an `InvalidRequest`."""
    headers = dict(_pair(word, "--secret-header NAME=HEADER") for word in arguments.secret_header)
    found = [_literal(word) for word in arguments.secret]
    found += [_file(*_pair(word, "--secret-file NAME[@HOST]=PATH")) for word in arguments.secret_file]
    unknown = headers.keys() - {one["name"] for one in found}
    if unknown:
        raise InvalidRequest(f"--secret-header is for {', '.join(sorted(unknown))}, which no --secret gives")
    return [one | ({"header": headers[one["name"]]} if one["name"] in headers else {}) for one in found]


def given_secret_env(arguments: argparse.Namespace) -> dict[str, str]:
    """Return what `secret_env_option` was given: name → variable."""
    pairs = [(name, variable or name) for name, _, variable in (word.partition("=") for word in arguments.secret_env)]
    if len(dict(pairs)) < len(pairs):
        raise InvalidRequest("a secret is named twice by --secret-env")
    return dict(pairs)


def _literal(word: str) -> dict[str, str]:
    left, has_value, value = word.partition("=")
    declared = _declared(left)
    end = value.rpartition("@")
    if "host" not in declared and end[0] and _LIKE_A_HOST.fullmatch(end[2]):
        raise InvalidRequest(
            f"the value of the secret {declared['name']} ends like a host, so it could be meant for that host alone",
            hint="for a host write --secret NAME@HOST=VALUE; a value that ends so is given by --secret-file NAME=PATH, "
            "or by pyro's own variable: --secret NAME",
        )
    return declared | {"value": value if has_value else _of_environment(declared["name"])}


def _declared(text: str) -> dict[str, str]:
    """Return the name, and the host if one is given: NAME or NAME@HOST."""
    name, bound, host = text.partition("@")
    return {"name": name, "host": host} if bound else {"name": name}


def _of_environment(name: str) -> str:
    if name not in os.environ:
        raise InvalidRequest(
            "a --secret has no value, and pyro has no variable of its name",
            hint="write --secret NAME=VALUE, or --secret-file NAME=PATH",
        )
    return os.environ[name]


def _file(left: str, path: str) -> dict[str, str]:
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
