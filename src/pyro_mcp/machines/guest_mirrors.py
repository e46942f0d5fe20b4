"""Package mirrors of this host, for the programs of a machine.

They are given as variables of its commands, so nothing of them stays in a disk or in an environment that is saved.
"""

from __future__ import annotations

import urllib.parse

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.host.mirrors import host_mirrors
from pyro_mcp.machines.network_policy import NetworkPolicy


def mirror_environ(network: NetworkPolicy) -> dict[str, str]:
    """Return the variables by which pip, uv, npm and yarn find the mirrors; none unless the machine uses them."""
    if not network.host_mirrors:
        return {}
    found = host_mirrors()
    extra = " ".join(found.pip_extra)
    environ = {
        "PIP_INDEX_URL": found.pip,
        "PIP_EXTRA_INDEX_URL": extra,
        "UV_DEFAULT_INDEX": found.pip,
        "UV_INDEX": extra,
        "NPM_CONFIG_REGISTRY": found.npm,
        "YARN_NPM_REGISTRY_SERVER": found.npm,
    }
    return {name: value for name, value in environ.items() if value}


def check_mirrors(network: NetworkPolicy) -> None:
    """Raise `InvalidRequest` for a machine that is to use mirrors where there are none, or cannot reach them."""
    if not network.host_mirrors:
        return
    addresses = host_mirrors().addresses
    if not addresses:
        raise InvalidRequest(
            "neither pip nor npm of this host uses a mirror",
            hint=Hint.joined(
                "configure a mirror on the host (index-url in pip.conf, registry in .npmrc)",
                Hint("leave out {}", Argument("host_mirrors", True)),
                separator=", or ",
            ),
        )
    for address in addresses:
        parts = urllib.parse.urlsplit(address)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if why := network.rules().name_refusal(host, port, "tcp"):
            raise InvalidRequest(
                f"the mirror {address} cannot be reached: {why}", hint=Hint("add {}", Argument("allow_hosts", [host]))
            )
