"""moot serve"""

from __future__ import annotations

import argparse
from pathlib import Path

from moot.cli import data_options
from moot.server import logs
from moot.server.settings import Limits, limits_in
from pyro_mcp.command_line import Verbs, verb

_LEVELS = ("debug", "info", "warning", "error")


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs, "serve", "run a space server until it is interrupted", _serve, example="moot serve --port 8000"
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, metavar="PORT", help="port to listen on (8000)")
    data_options.add(parser)
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain in PEM, for HTTPS")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="private key in PEM, for HTTPS")
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="a TOML file with limits; docs/space.md lists them"
    )
    parser.add_argument(
        "--log-level", choices=_LEVELS, default="info", metavar="LEVEL", help=f"{', '.join(_LEVELS)} (info)"
    )


def _serve(arguments: argparse.Namespace) -> int:
    from moot.server.api.serving import serve  # noqa: PLC0415 - the web framework is slow to import

    logs.start(arguments.log_level)
    settings = data_options.settings_of(
        arguments,
        host=arguments.host,
        port=arguments.port,
        tls_certificate=arguments.tls_cert,
        tls_key=arguments.tls_key,
        limits=limits_in(arguments.settings) if arguments.settings else Limits(),
    )
    serve(settings, lambda text: print(text, flush=True))
    return 0
