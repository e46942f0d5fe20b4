"""pyro mcp serve"""

from __future__ import annotations

import argparse
import sys

import pyro_mcp
from pyro_mcp.cli.serve_options import add_serve_options, serve_options
from pyro_mcp.command_line import Verbs, verb
from pyro_mcp.errors import InvalidRequest

_ON_A_TERMINAL = """\
pyro: waiting for a chat host on standard input (Model Context Protocol); Ctrl-D ends the server.
pyro: after 'pyro host connect claude-code' (or codex, opencode), the chat host starts this server itself."""


def add(verbs: Verbs) -> None:
    group = verbs.add_parser("mcp", help="serve workspaces to chat hosts over the Model Context Protocol")
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = verb(
        inner,
        "serve",
        "serve over standard input and output, or over HTTP on this host",
        _serve,
        example="pyro mcp serve --mode repro-fix",
    )
    add_serve_options(parser, results="both")
    parser.add_argument("--http", action="store_true", help="listen on 127.0.0.1 instead of standard input and output")
    parser.add_argument("--port", type=int, metavar="N", help="the port for --http (default: a free one)")
    parser.add_argument(
        "--token-file",
        metavar="PATH",
        help="file with the bearer token for --http (default: $PYRO_MCP_TOKEN, or a new token, which is printed)",
    )


def _serve(arguments: argparse.Namespace) -> int:
    if not arguments.http and (arguments.port is not None or arguments.token_file is not None):
        raise InvalidRequest("--port and --token-file work only with --http", hint="add --http")
    server = pyro_mcp.Pyro().create_server(**serve_options(arguments))
    if not arguments.http:
        if sys.stdin.isatty():
            print(_ON_A_TERMINAL, file=sys.stderr, flush=True)
        return server.serve_stdio()
    server.serve_http(port=arguments.port or 0, token_file=arguments.token_file, announce=_announce)
    return 0


def _announce(address: str, new_token: str | None) -> None:
    print(f"pyro: serving on {address}", file=sys.stderr)
    if new_token is not None:
        print(f"pyro: Authorization: Bearer {new_token}", file=sys.stderr)
    sys.stderr.flush()
