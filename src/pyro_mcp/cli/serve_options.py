"""The options of the MCP server: those of `pyro mcp serve`, which `pyro host connect` writes down."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from pyro_mcp.cli.options import accelerator_option, allow_host_option
from pyro_mcp.serving import MODES, NETWORK_POLICIES, PROFILES, RESULTS, ServeOptions


def add_serve_options(parser: argparse.ArgumentParser, *, results: str) -> None:
    """Add the options; `results` is the form of results without `--results`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--profile", metavar="NAME", help=f"how many tools the server offers: {_or(PROFILES)} (default {PROFILES[1]})"
    )
    which.add_argument("--mode", metavar="NAME", help=f"the tools for one way of working: {_or(MODES)}")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--project-path",
        metavar="DIR",
        help="folder copied into new workspaces (default: the git checkout that the server is started in)",
    )
    source.add_argument("--repo-url", metavar="URL", help="a repository to clone into new workspaces")
    source.add_argument("--no-project-source", action="store_true", help="new workspaces are empty")
    parser.add_argument("--repo-ref", metavar="REF", help="the branch, tag or commit of --repo-url")
    parser.add_argument(
        "--results",
        choices=RESULTS,
        metavar="FORM",
        help=f"text (short, for models) or both (text and JSON) (default {results})",
    )
    parser.add_argument(
        "--network-policy",
        choices=NETWORK_POLICIES,
        metavar="POLICY",
        help=f"network policy of new workspaces: {_or(NETWORK_POLICIES)}; no tool call can exceed it",
    )
    accelerator_option(parser, "what runs new machines; unless it is auto, no tool call can choose another one")
    allow_host_option(
        parser, "the only hosts that workspaces may reach (implies --network-policy egress)", dest="allow_hosts"
    )


def serve_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was given, as keywords of the SDK; allowed hosts without a policy imply "egress"."""
    options = {field.name: getattr(arguments, field.name) for field in fields(ServeOptions)}
    if options["allow_hosts"] and options["network_policy"] is None:
        options["network_policy"] = "egress"
    return options


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
