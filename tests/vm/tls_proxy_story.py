"""Run a workspace with a secret for one host, and that host, in a network of their own; print what each of them saw.

To be run in a network and mount namespace: `python -m tests.vm.tls_proxy_story FOLDER`. The folder holds all state,
`HOST` is found at `ADDRESS`, and its certificate is signed by an authority that this host trusts here alone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from pyro_mcp import Pyro
from pyro_mcp.network.http.authority import Authority
from tests.network.tls_site import HOST, VALUE, Web
from tests.vm.processes import home_of, kernel_below, memory_holds

ADDRESS = "10.77.0.1"
SECRETS = [{"name": "API", "value": VALUE, "host": HOST}]
ALLOWED = [HOST, ADDRESS]

PYTHON = """python3 -c '
import os, urllib.request
headers = {"Authorization": "Bearer " + os.environ["API"]}
print(urllib.request.urlopen(urllib.request.Request("https://%s/", headers=headers), timeout=20).read().decode())
'"""
COMMANDS = {
    "python": PYTHON % HOST,
    "python without variables": f'env -i API="$API" PATH="$PATH" {PYTHON % HOST}',
    "git": f"git ls-remote https://git:$API@{HOST}/project.git",
    "git without variables": f"env -i PATH=$PATH git ls-remote https://git:$API@{HOST}/project.git",
    "curl": f'curl -sS -H "Authorization: Bearer $API" https://{HOST}/',
}


def main() -> None:
    folder = Path(sys.argv[1])
    web = Web(folder)
    os.environ["SSL_CERT_FILE"] = str(folder / "roots.pem")
    threading.Thread(target=_serve, args=(web,), daemon=True).start()
    print(json.dumps(_story(web)))  # noqa: T201 - it is what the test reads


def _serve(web: Web) -> None:
    with socket.create_server((ADDRESS, 443)) as listener:
        while True:
            line, _ = listener.accept()
            threading.Thread(target=web.answer, args=(line,), daemon=True).start()


def _story(web: Web) -> dict[str, Any]:
    pyro = Pyro()
    made = pyro.create_workspace("debian:12", network_policy="egress", allow_hosts=ALLOWED, secrets=SECRETS)
    ids = [made["workspace_id"]]
    try:
        told: dict[str, Any] = {"secrets": made["secrets"]}
        told["programs"] = {name: _asked(pyro, ids[0], web, command) for name, command in COMMANDS.items()}
        placeholder = pyro.exec_workspace(ids[0], command=["printenv", "API"], secret_env=["API"])["stdout"].strip()
        told["placeholder"] = placeholder
        told["guest_holds"] = [
            memory_holds(kernel_below(home_of(ids[0])), one.encode()) for one in (placeholder, VALUE)
        ]
        told["command_lines_hold_it"] = _in_command_lines(VALUE.encode())
        pyro.reset_workspace(ids[0])
        told["after_reset"] = _asked(pyro, ids[0], web, COMMANDS["python"])
        pyro.stop_workspace(ids[0])
        pyro.start_workspace(ids[0])
        told["after_start"] = _asked(pyro, ids[0], web, COMMANDS["python"])
        ids.append(pyro.fork_workspace(ids[0])["workspace_id"])
        told["in_a_fork"] = _asked(pyro, ids[1], web, COMMANDS["python without variables"])
        lists = "cat /etc/ssl/certs/ca-certificates.crt | grep -c BEGIN; cat /etc/pyro-mcp/ca.pem | sed -n 3p"
        certificate = pyro.exec_workspace(ids[1], command=f"{lists} | grep -cFf - /etc/ssl/certs/ca-certificates.crt")
        told["times_in_the_system_list"] = certificate["stdout"]
        told["without_the_hosts_ca"], told["with_the_hosts_ca"] = (
            _asked_plainly(pyro, trust_host_ca=trusting) for trusting in (False, True)
        )
        web.identity = Authority(Path(sys.argv[1]) / "false", [HOST]).identities[HOST]
        told["false_host"] = _asked(pyro, ids[0], web, COMMANDS["python"])
        told["network_log"] = pyro.network_log_workspace(ids[0])["entries"][-1:]
    finally:
        for one in ids:
            pyro.delete_workspace(one)
    return told


def _asked(pyro: Pyro, id_: str, web: Web, command: str) -> dict[str, Any]:
    """Run a command; return its output, and the authorization that the host saw."""
    web.asked.clear()
    done = pyro.exec_workspace(id_, command=command, secret_env=["API"])
    seen = [asked["headers"].get("Authorization") for asked, _ in web.asked]
    return {"exit_code": done["exit_code"], "stdout": done["stdout"], "stderr": done["stderr"][-500:], "seen": seen}


def _asked_plainly(pyro: Pyro, *, trust_host_ca: bool) -> dict[str, Any]:
    """Run the programs in a workspace without secrets; return the exit code and the output of each."""
    made = pyro.create_workspace("debian:12", network_policy="egress", allow_hosts=ALLOWED, trust_host_ca=trust_host_ca)
    try:
        told = {}
        for name in ("python", "python without variables", "curl"):
            done = pyro.exec_workspace(made["workspace_id"], command=f"API=plain; export API; {COMMANDS[name]}")
            told[name] = [done["exit_code"], done["stdout"]]
        return told
    finally:
        pyro.delete_workspace(made["workspace_id"])


def _in_command_lines(value: bytes) -> bool:
    for entry in os.scandir("/proc"):
        try:
            if entry.name.isdigit() and value in Path(entry.path, "cmdline").read_bytes():
                return True
        except OSError:
            continue  # it has ended meanwhile
    return False


if __name__ == "__main__":
    main()
