"""claude-bottle page"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path

from claude_bottle.bottles import Bottles
from pyro_mcp.command_line import Verbs, paragraph, shown, verb
from pyro_mcp.errors import InvalidRequest

_DESCRIPTION = (
    "Serve a page to approve and deny requests on a phone, and send new requests to webhooks.\n\n"
    "It listens on this host alone unless --listen names another address, which needs TLS. To reach it from a phone, "
    "put a tunnel or a proxy with TLS in front, and give its address with --url. The webhooks are in "
    "~/.config/claude-bottle/notify.toml."
)


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "page",
        "serve a page to approve and deny requests on a phone, and send new requests to webhooks",
        _page,
        example="claude-bottle page --listen 127.0.0.1:8043 --url https://bottles.example.org",
    )
    parser.description = _DESCRIPTION
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="ADDRESS:PORT", help="default 127.0.0.1 and a free port"
    )
    parser.add_argument("--url", default="", metavar="BASE", help="the URL under which a phone reaches the page")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve TLS with this certificate chain (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="the private key of the certificate (PEM)")


def _page(arguments: argparse.Namespace) -> int:
    if arguments.json:
        raise InvalidRequest("page has no result, so it has no --json")
    from claude_bottle.page.serving import Page, PageOptions  # noqa: PLC0415 - slow to import
    from claude_bottle.page.webhooks import notify_path, read_webhooks  # noqa: PLC0415

    host, _, port = arguments.listen.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) < 6):
        raise InvalidRequest(f"{arguments.listen!r} is not ADDRESS:PORT", hint="such as 127.0.0.1:8043")
    options = PageOptions(
        host=host.strip("[]"),
        port=int(port),
        url=arguments.url,
        certificate=arguments.tls_cert,
        private_key=arguments.tls_key,
    )
    hooks = read_webhooks(notify_path())
    with closing(Page(Bottles(), options, hooks, _say)) as page:
        print(f"the list of requests: {page.list_url}", flush=True)
        _say("whoever has this address can approve requests; it is valid until this command ends")
        _say(f"new requests are sent to {len(hooks)} webhooks" if hooks else f"no webhooks in {notify_path()}")
        page.serve()
    return 0


def _say(text: str) -> None:
    print(paragraph(f"claude-bottle: {shown(text)}"), file=sys.stderr, flush=True)
