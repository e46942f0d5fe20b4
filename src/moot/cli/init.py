"""moot init"""

from __future__ import annotations

import argparse
import sys

from moot.team_profile import builtin_templates
from pyro_mcp.command_line import Verbs, print_json, verb


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs, "init", "give this project a team of agents, with their keys", _init, example="moot init -t loop-4"
    )
    parser.add_argument(
        "-t",
        "--template",
        metavar="NAME",
        help=f"{', '.join(builtin_templates())}, or the folder of a template (default: what fits)",
    )
    parser.add_argument("--roles", metavar="R1,R2", help="only these roles of the team")
    parser.add_argument("--fresh", action="store_true", help="make a new team in a space of its own")
    parser.add_argument("--force", action="store_true", help="give all agents new keys, and write a new moot.toml")
    parser.add_argument(
        "--adopt-fresh-install", action="store_true", help="overwrite CLAUDE.md, skills, settings and dev container"
    )
    parser.add_argument("--update-suggestions", action="store_true", help="only compare the same files again")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument("--api-url", metavar="URL", help="the server, if you are logged in on several")
    parser.add_argument("--profile", metavar="NAME", help="the login to use (default)")


def _init(arguments: argparse.Namespace) -> int:
    from moot.scaffold import InitOptions, init  # noqa: PLC0415 - the HTTP library is slow to import

    result = init(
        InitOptions(
            force=arguments.force,
            update_suggestions=arguments.update_suggestions,
            adopt_fresh_install=arguments.adopt_fresh_install,
            fresh=arguments.fresh,
            api_url=arguments.api_url,
            profile=arguments.profile,
            roles=tuple(filter(None, (one.strip() for one in (arguments.roles or "").split(",")))),
            template=arguments.template,
            say=(lambda _line: None) if arguments.json else (lambda line: print(line, flush=True)),
            agree=(lambda _question: True) if arguments.yes else _agree,
        )
    )
    if arguments.json:
        print_json({"aborted": True} if result is None else result.as_json())
    elif result is None:
        print("Aborted.")
    return 0


def _agree(question: str) -> bool:
    """Ask on standard error; return whether the answer is yes. The end of the input means no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
