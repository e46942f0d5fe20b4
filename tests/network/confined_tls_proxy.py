"""Serves connections by the TLS proxy in a process that sees an empty root: prints the status of each answer."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import threading
from pathlib import Path

from pyro_mcp.network.channel.policy_client import Denied
from tests.network.tls_site import HOST, OTHER, Web


def main() -> None:
    web = Web(Path(sys.argv[1]))
    status = [_asked(web, host, reachable=host != "") for host in (HOST, OTHER, "")]
    print(*status)  # noqa: T201 - it is what the test reads


def _asked(web: Web, host: str, *, reachable: bool) -> int:
    ours, guest = socket.socketpair()
    upstream, theirs = socket.socketpair()

    def dial() -> socket.socket:
        if not reachable:
            raise Denied("no")
        return upstream

    serving = os.fork()
    if serving == 0:
        ours.close()
        theirs.close()
        os.chroot(sys.argv[2])
        os.chdir("/")
        web.tls_proxy.serve(guest, HOST, 443, dial)
        os._exit(0)
    guest.close()
    upstream.close()
    threading.Thread(target=web.answer, args=(theirs,), daemon=True).start()
    with web.trust.wrap_socket(ours, server_hostname=HOST) as line:
        client = http.client.HTTPConnection(HOST)
        client.sock = line
        client.request("GET", "/", headers={"Host": host or HOST})
        status = client.getresponse().status
        client.close()
    os.waitpid(serving, 0)
    return status


if __name__ == "__main__":
    main()
