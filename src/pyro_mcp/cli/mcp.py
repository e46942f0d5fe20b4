"""pyro mcp serve"""

from __future__ import annotations

import argparse
import sys

import pyro_mcp
from pyro_mcp.cli.options import Verbs, verb
from pyro_mcp.errors import InvalidRequest

_MODES = "repro-fix, inspect, cold-start or review-eval"
_PROFILES = "vm-run, workspace-core (default) or workspace-full"


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
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--profile", metavar="NAME", help=f"how many tools are offered: {_PROFILES}")
    which.add_argument("--mode", metavar="NAME", help=f"the tools for one way of working: {_MODES}")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--project-path", metavar="DIR", help="what workspaces begin as (default: the git checkout around this folder)"
    )
    source.add_argument("--repo-url", metavar="URL", help="a repository that workspaces begin as, cloned afresh")
    source.add_argument("--no-project-source", action="store_true", help="workspaces begin empty")
    parser.add_argument("--repo-ref", metavar="REF", help="the branch, tag or commit of --repo-url")
    parser.add_argument("--http", action="store_true", help="listen on 127.0.0.1 instead of standard input and output")
    parser.add_argument("--port", type=int, metavar="N", help="of --http (default: one that is free)")
    parser.add_argument(
        "--token-file",
        metavar="PATH",
        help="the bearer token of --http (default: that of $PYRO_MCP_TOKEN, or a new one, which is printed)",
    )


def _serve(arguments: argparse.Namespace) -> int:
    if not arguments.http and (arguments.port is not None or arguments.token_file is not None):
        raise InvalidRequest("--port and --token-file are about --http", hint="give --http too")
    server = pyro_mcp.Pyro().create_server(
        arguments.profile,
        mode=arguments.mode,
        project_path=arguments.project_path,
        repo_url=arguments.repo_url,
        repo_ref=arguments.repo_ref,
        no_project_source=arguments.no_project_source,
    )
    if not arguments.http:
        return server.serve_stdio()
    server.serve_http(port=arguments.port or 0, token_file=arguments.token_file, announce=_announce)
    return 0


def _announce(address: str, new_token: str | None) -> None:
    print(f"pyro: serving on {address}", file=sys.stderr)
    if new_token is not None:
        print(f"pyro: Authorization: Bearer {new_token}", file=sys.stderr)
    sys.stderr.flush()
