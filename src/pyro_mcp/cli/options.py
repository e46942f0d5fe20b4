"""The options that several verbs share."""

from __future__ import annotations

import argparse
from typing import Any

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.serving import ACCELERATORS


def id_argument(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add the argument for the workspace of a verb, or with `nargs` "+" several."""
    text = "workspace id, or its name if the name is unique"
    parser.add_argument("workspace_id", metavar="WORKSPACE_ID", nargs=nargs, help=text)


def machine_options(parser: argparse.ArgumentParser, *, ttl_seconds: float, ending: str = "deleted") -> None:
    """Add the size and the lifetime of a machine; `ending` says what happens when its time is over."""
    parser.add_argument("--vcpu-count", type=int, default=1, metavar="N", help="virtual processors (default 1)")
    parser.add_argument("--mem-mib", type=int, default=1024, metavar="N", help="memory in MiB (default 1024)")
    parser.add_argument(
        "--ttl-seconds",
        type=float,
        default=ttl_seconds,
        metavar="S",
        help=f"the machine is {ending} after S seconds (default {ttl_seconds:g})",
    )


def timeout_option(parser: argparse.ArgumentParser) -> None:
    """Add the time limit of a command."""
    parser.add_argument(
        "--timeout-seconds",
        type=float,
        metavar="S",
        help="kill the command after S seconds (default 30; 120 where the processor is emulated)",
    )


def host_settings_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that give a machine settings of this host."""
    parser.add_argument(
        "--trust-host-ca",
        action="store_true",
        help="with a network: trust the certificate authorities that this host trusts",
    )
    parser.add_argument(
        "--host-mirrors",
        action="store_true",
        help="with a network: pip, uv and npm use this host's mirrors, without user names and passwords",
    )


def allow_host_option(parser: argparse.ArgumentParser, purpose: str, *, dest: str = "allow_host") -> None:
    """Add the option of an allow list; `purpose` says who may reach only these hosts, and when."""
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        dest=dest,
        metavar="NAME[:PORT]",
        help=f"{purpose}; may be repeated. NAME is a host name, *.example.com for all its subdomains, an address or a "
        "network. Without a port only 80 and 443 are allowed; :* allows all ports",
    )


def request_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that limit the requests to a host, and that make a name lead to a port of this host."""
    parser.add_argument(
        "--allow-request",
        action="append",
        default=[],
        metavar="'METHODS URL'",
        help="allow only these requests to a host, for example 'GET,HEAD https://api.github.com/repos/me/*'; may be "
        "repeated. METHODS may be *. In the URL, * at the end stands for all that follows, elsewhere for characters "
        "other than /",
    )
    parser.add_argument(
        "--upstream",
        action="append",
        default=[],
        metavar="NAME[:PORT]=http://127.0.0.1:PORT",
        help="make a name lead to this port of this host, and to nothing else; may be repeated",
    )


def allow_list(arguments: argparse.Namespace) -> list[str | dict[str, Any]]:
    """Return the allow list from `allow_host_option` and `request_options`, in the form of the SDK."""
    upstreams: dict[str, str] = {}
    for name, upstream in map(_upstream, arguments.upstream):
        if name in upstreams:
            raise InvalidRequest(f"--upstream {name} is given twice", hint="a name leads to one port: leave one out")
        upstreams[name] = upstream
    requests = [_request(text) for text in arguments.allow_request]
    limited = {_name_and_port(one["host"])[0] for one in requests}
    others = [
        {"host": host, "upstream": upstream}
        for host, upstream in upstreams.items()
        if _name_and_port(host)[0] not in limited
    ]
    return [*arguments.allow_host, *(one | _upstream_for(one["host"], upstreams) for one in requests), *others]


def _upstream(text: str) -> tuple[str, str]:
    host, equals, upstream = text.partition("=")
    if not (host and equals):
        raise InvalidRequest(f"{text!r} is not an upstream", hint="write --upstream NAME=http://127.0.0.1:PORT")
    return ":".join(filter(None, _name_and_port(host))), upstream


def _name_and_port(host: str) -> tuple[str, str]:
    """Return the name in one form, so that equal names are found, and the port, "" for 80 and 443."""
    name, _, port = host.lower().partition(":")
    return name.removesuffix("."), port


def _upstream_for(host: str, upstreams: dict[str, str]) -> dict[str, str]:
    """Return the upstream of the requests to `NAME:PORT`; raise `InvalidRequest` when others of its name differ.

    Where a name has an upstream, only entries with one count: an upstream without limits must not stand beside them.
    """
    name, port = _name_and_port(host)
    named = [given for given in upstreams if _name_and_port(given)[0] == name]
    fitting = [given for given in named if given == f"{name}:{port}" or (given == name and port in ("80", "443"))]
    if named != fitting or len(fitting) > 1:
        raise InvalidRequest(
            f"--allow-request is for {name}:{port}, and --upstream for {', '.join(named)}",
            hint=f"write one --upstream {name}:{port}=http://127.0.0.1:PORT, and no other of that name",
        )
    return {"upstream": upstreams[fitting[0]]} if fitting else {}


def _request(text: str) -> dict[str, Any]:
    """Return the entry of an allow list that an --allow-request stands for, at the one port of its URL."""
    methods, space, url = text.strip().partition(" ")
    scheme, mark, rest = url.strip().partition("://")
    host, slash, path = rest.partition("/")
    if not space or not mark or scheme not in ("https", "http") or not host:
        raise InvalidRequest(f"{text!r} cannot be allowed", hint="write --allow-request 'GET https://HOST/PATH*'")
    port = "" if ":" in host else ":443" if scheme == "https" else ":80"
    entry: dict[str, Any] = {"host": f"{host.lower()}{port}", "paths": [f"/{path}" if slash else "/*"]}
    return entry if methods == "*" else entry | {"methods": methods.split(",")}


def host_compat_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for hosts that can run no guest."""
    parser.add_argument(
        "--allow-host-compat",
        action="store_true",
        help="if no virtual machine can run here, use a sandbox on the host: far less isolated",
    )


def accelerator_option(parser: argparse.ArgumentParser, purpose: str = "what runs the machine") -> None:
    """Add the option for the accelerator; without it that of PYRO_ACCELERATOR counts."""
    known = f"{', '.join(ACCELERATORS[:-1])} or {ACCELERATORS[-1]}"
    parser.add_argument(
        "--accelerator", metavar="NAME", help=f"{purpose}: {known} (default: $PYRO_ACCELERATOR, or auto, the fastest)"
    )


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the options of these names that the user gave; the others keep the defaults of the SDK."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def labels(given: list[str], *, option: str = "--label") -> dict[str, str]:
    """Return `KEY=VALUE` words as a dictionary; raise `InvalidRequest` for one without `=`."""
    for word in given:
        if "=" not in word:
            raise InvalidRequest(f"{option} {word!r} has no value", hint=f"write it as {option} KEY=VALUE")
    return dict(word.split("=", 1) for word in given)
