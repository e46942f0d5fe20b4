"""moot login"""

from __future__ import annotations

import argparse
import getpass
import sys
from dataclasses import asdict

from pyro_mcp.command_line import Verbs, print_json, shown, verb


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs, "login", "store a token for a space server", _login, example="moot login --api-url http://127.0.0.1:8000"
    )
    parser.add_argument(
        "--token", metavar="TOKEN", help="personal access token; without it, moot asks for one or reads standard input"
    )
    parser.add_argument(
        "--api-url", metavar="URL", help="address of the server (http://127.0.0.1:8000, where 'moot serve' listens)"
    )
    parser.add_argument(
        "--profile", default="default", metavar="NAME", help="a name for this login, if you have several (default)"
    )


def _login(arguments: argparse.Namespace) -> int:
    from moot.client import auth  # noqa: PLC0415 - the HTTP library is slow to import
    from moot.client.server_address import DEFAULT_API_URL  # noqa: PLC0415

    api_url = auth.checked_url(arguments.api_url or DEFAULT_API_URL)
    token = arguments.token if arguments.token is not None else _ask(auth.token_advice(api_url))
    done = auth.login(token, api_url, arguments.profile)
    if arguments.json:
        print_json(asdict(done))
    else:
        print(f"Authenticated as {shown(done.display_name)} ({shown(done.actor_id)}) on {done.api_url}")
    return 0


def _ask(advice: str) -> str:
    """Return the token that a person pastes, or that is the first line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    print(advice, file=sys.stderr)
    try:
        return getpass.getpass("Paste your token: ")
    except EOFError:
        return ""
