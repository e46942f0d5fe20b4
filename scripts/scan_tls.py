"""Scan the TLS side of the gateway's proxy with sslyze: `python -m scripts.scan_tls SSLYZE`, the path of its program.

It prints one line for each finding, and exits with 1 unless all are as they must be. `make scan-tls` installs sslyze,
whose licence is the AGPL, in an environment of its own; it is a program that we run, and no part of the project.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pyro_mcp.network import Authority
from pyro_mcp.network.http.tls_proxy import TLSProxy

_NAME = "site.internal"
_DEADLINE = 300
_NEVER = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
_WANTED: Mapping[tuple[str, str], object] = {
    ("tls_compression", "supports_compression"): False,
    ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"): False,
    ("heartbleed", "is_vulnerable_to_heartbleed"): False,
    ("robot", "robot_result"): "NOT_VULNERABLE_RSA_NOT_SUPPORTED",
    ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"): False,
    ("session_renegotiation", "supports_secure_renegotiation"): True,
    ("tls_fallback_scsv", "supports_fallback_scsv"): True,
    ("tls_1_3_early_data", "supports_early_data"): False,
    ("tls_extended_master_secret", "supports_ems_extension"): True,
}
_CHECKS = (
    "--sslv2 --sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --compression --openssl_ccs --heartbleed --robot --reneg "
    "--fallback --early_data --ems --certinfo"
)


def _no_site() -> NoReturn:
    raise OSError("there is no site")


@contextmanager
def _proxy(folder: Path) -> Iterator[int]:
    """Serve the proxy at a port of 127.0.0.1; `folder` gets the authority's certificate, ca.pem."""
    authority = Authority(folder / "authority", [_NAME])
    (folder / "ca.pem").write_bytes(authority.certificate)
    proxy = TLSProxy([], authority.identities, None)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:

        def serve() -> None:
            while True:
                try:
                    guest, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=proxy.serve, args=(guest, _NAME, 443, _no_site), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _scan(sslyze: str) -> dict[str, Any]:
    """Return what sslyze finds, by the name of its check."""
    with tempfile.TemporaryDirectory(prefix="pyro-scan-") as name, _proxy(Path(name)) as port:
        report = Path(name, "report.json")
        places = [f"--sni={_NAME}", f"--certinfo_ca_file={name}/ca.pem", f"--json_out={report}"]
        command = [sslyze, *_CHECKS.split(), *places, "--mozilla_config=disable", f"127.0.0.1:{port}"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=_DEADLINE)
        (found,) = json.loads(report.read_text())["server_scan_results"]
    return {check: (outcome or {}).get("result") or {} for check, outcome in found["scan_result"].items()}


def findings(found: Mapping[str, Any]) -> dict[str, bool]:
    """Return each finding, and whether it is as it must be."""
    said = {
        f"{protocol}: no cipher suite is accepted": _suites(found, protocol) == []
        and bool(found.get(f"{protocol}_cipher_suites"))
        for protocol in _NEVER
    }
    for protocol in ("tls_1_2", "tls_1_3"):
        suites = _suites(found, protocol)
        good = all("GCM" in suite or "CHACHA20" in suite for suite in suites)
        said[f"{protocol}: {', '.join(suites)}"] = bool(suites) and good
    for (check, fact), wanted in _WANTED.items():
        value = found.get(check, {}).get(fact)
        said[f"{fact}: {value}"] = value == wanted
    deployments = found.get("certificate_info", {}).get("certificate_deployments", [])
    trusted = [one for chain in deployments for one in chain["path_validation_results"] if _is_ours(one)]
    said["the certificate is of our authority"] = bool(trusted)
    return said


def _suites(found: Mapping[str, Any], protocol: str) -> list[str]:
    accepted = found.get(f"{protocol}_cipher_suites", {}).get("accepted_cipher_suites", [])
    return [suite["cipher_suite"]["name"] for suite in accepted]


def _is_ours(validation: Mapping[str, Any]) -> bool:
    return bool(validation["was_validation_successful"]) and "ca.pem" in str(validation["trust_store"]["path"])


def main(sslyze: str) -> None:
    """Scan, print the findings, and exit."""
    said = findings(_scan(sslyze))
    for finding, is_right in said.items():
        print("ok  " if is_right else "BAD ", finding)
    sys.exit(0 if all(said.values()) else 1)


if __name__ == "__main__":
    main(sys.argv[1])
