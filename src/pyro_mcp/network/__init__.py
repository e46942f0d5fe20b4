"""Network access for a guest that decides and logs every connection: the egress gateway.

A guest is a virtual machine, or the processes in a network namespace, such as a container. Its gateway has two
processes. The relay process is alone with the guest's network device in a network namespace that leads nowhere. The
policy process stays in the host's network; it decides by the `Rules`, writes the log, and opens each connection for the
relay process. The gateway denies by default: without its processes the guest has no network at all.

A backend for containers starts the gateway for the container's network namespace, and attaches it to the container's
first process (`docker run --network none`; `docker inspect` gives the process id). The interface `eth0` appears in the
container with its address and default route:

    rules = Rules(
        allow=(
            "*.pythonhosted.org",
            {"host": "api.example.com", "methods": ["GET", "POST"], "paths": ["/v1/*"]},
            {"host": "model.internal", "upstream": "http://127.0.0.1:8080"},  # a port of this host, and no other
        ),
        published=True,
    )
    secret = HostSecret("API", placeholder="pyro-secret-API-0123456789abcdef", value=key, host="api.example.com")
    authority = Authority(folder / "authority", [*rules.terminated_hosts, secret.host])
    gateway = launch_gateway(
        folder, folder / "network.log", rules, [secret], authority, namespace=Path(f"/proc/{pid}/ns/net")
    )
    with gateway as starting:
        starting.attach_to_process(pid)  # from here on the gateway ends with the process, not with this block

    port = GatewayControl(folder).publish(None, 8000)  # the container's port 8000, at 127.0.0.1:port
    for entry in read_network_log(folder / "network.log", limit=20):
        print(entry["verdict"], entry["name"] or entry["address"], entry["port"], entry["reason"])

HTTPS ends at the gateway for the hosts of secrets and for `terminated_hosts`: names with rules for requests or with an
upstream. To reach these hosts, the container's programs must trust the authority. `GuestCA` has what that takes: files
for the container, commands that add them to the lists of its image, and variables such as SSL_CERT_FILE:

    ca = GuestCA(authority)
    for path, (mode, content) in ca.files().items():
        copy_into_container(path, mode, content)  # docker cp
    for argv in ca.system_store_commands():
        run_in_container(argv)  # docker exec, as root
    environ = {"API": secret.placeholder, **ca.environ()}  # of each command

The TLS proxy replaces the placeholder by the value. The container's `/etc/resolv.conf` names `RESOLVER_ADDRESS`
(`docker run --dns`).

Another process of the host can supervise a gateway: it records each decision before it takes effect, can refuse it, and
can change the rules while the gateway runs. Without that process the guest has no network.

    channel, _ = listen_for_gateway(folder / "supervisor").accept()  # launch_gateway(..., supervisor=that path)
    gateway = serve_supervisor(channel, supervisor)  # a Supervisor
    gateway.set_rules(other_rules)
    gateway.wait()

A backend for virtual machines leaves `namespace` out, passes the descriptor `starting.tap()` to its hypervisor, and
calls `starting.attach` with a socket that the machine's processes hold open.
"""

from __future__ import annotations

from pyro_mcp.network.addressing.addresses import GUEST_ADDRESS, RESOLVER_ADDRESS
from pyro_mcp.network.devices.problems import network_problems
from pyro_mcp.network.gateway.control import CONTROL, GatewayControl, GatewayInfo
from pyro_mcp.network.gateway.launch import StartingGateway, isolated_tap, launch_gateway
from pyro_mcp.network.http.authority import Authority
from pyro_mcp.network.http.guest_ca import CA_LISTS, GuestCA, is_our_ca_file
from pyro_mcp.network.metering.values import ModelRefusal, ModelRequest, ModelUsage, Reservation
from pyro_mcp.network.policy.allow_list import AllowGiven
from pyro_mcp.network.policy.host_secret import DEFAULT_HEADER, HostSecret
from pyro_mcp.network.policy.log import read_network_log
from pyro_mcp.network.policy.rules import Rules
from pyro_mcp.network.supervision.server import SupervisedGateway, listen_for_gateway, serve_supervisor
from pyro_mcp.network.supervision.supervisor import Refusal, Supervisor

__all__ = [
    "CA_LISTS",
    "CONTROL",
    "DEFAULT_HEADER",
    "GUEST_ADDRESS",
    "RESOLVER_ADDRESS",
    "AllowGiven",
    "Authority",
    "GatewayControl",
    "GatewayInfo",
    "GuestCA",
    "HostSecret",
    "ModelRefusal",
    "ModelRequest",
    "ModelUsage",
    "Refusal",
    "Reservation",
    "Rules",
    "StartingGateway",
    "SupervisedGateway",
    "Supervisor",
    "is_our_ca_file",
    "isolated_tap",
    "launch_gateway",
    "listen_for_gateway",
    "network_problems",
    "read_network_log",
    "serve_supervisor",
]
