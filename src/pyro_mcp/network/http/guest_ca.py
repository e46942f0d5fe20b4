"""The certificate authorities that the programs of a guest trust beside those of its image."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyro_mcp.network.http.authority import JAVA_PASSWORD, SUBJECT_HASH, Authority, host_roots, java_store

_FOLDER = "/etc/pyro-mcp"
_CERTIFICATE, BUNDLE, _JAVA = f"{_FOLDER}/ca.pem", f"{_FOLDER}/bundle.pem", f"{_FOLDER}/java.p12"
_ROOM = 900_000  # of the 1 MiB that the agent of a machine takes in one message

_ENVIRON = {
    **dict.fromkeys(
        (
            "SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT", "AWS_CA_BUNDLE",
            "CARGO_HTTP_CAINFO",
        ),
        BUNDLE,
    ),
    **dict.fromkeys(("NODE_EXTRA_CA_CERTS", "DENO_CERT"), _CERTIFICATE),
    "JAVA_TOOL_OPTIONS": f"-Djavax.net.ssl.trustStore={_JAVA} -Djavax.net.ssl.trustStorePassword={JAVA_PASSWORD} "
    "-Djavax.net.ssl.trustStoreType=PKCS12",
}  # fmt: skip
"""OpenSSL, Go, Python, curl, git, pip, Rust, Node, Java look there."""
_ADDING = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")
"""Of these, what names certificates that a program trusts beside its own."""
_BEGIN, _END = b"# pyro-mcp: what the host trusts\n", b"# pyro-mcp: until here\n"
_OF_HOST = re.compile(rb"\n?" + re.escape(_BEGIN) + rb".*?" + re.escape(_END), re.DOTALL)

CA_LISTS = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)  # fmt: skip
"""Where distributions keep the certificates that the machine trusts, as one file."""
_SYSTEM_FILES = (
    "/usr/local/share/ca-certificates/pyro-mcp.crt",
    f"/etc/ssl/certs/{SUBJECT_HASH}.0",
    "/etc/ssl/certs/pyro-mcp.pem",  # what update-ca-certificates makes of the first
    "/usr/local/share/ca-certificates/pyro-mcp-host.crt",
    "/etc/ssl/certs/pyro-mcp-host.pem",
)

# For programs that heed no variable. The lists are the image's own; what is there already is not added again. What
# comes with ca-certificates, installed later, is made from the folder.
_ADD = f"""\
for list in {" ".join(CA_LISTS)}
do
    if [ -f "$list" ] && ! grep -qF -- "$1" "$list"; then {{ echo; cat "$2"; }} >> "$list"; fi
done
if [ "$3" ]; then mkdir -p "${{3%/*}}" && cp "$2" "$3"; fi
"""


@dataclass(frozen=True)
class GuestCA:
    """The certificate authorities that a guest's programs trust beside those of its image.

    They are `authority`, the guest's own, if the gateway inserts secrets, and with `host_ca` all that this host trusts.
    A backend gives the guest the `files`, runs `system_store_commands` in it once, and starts each command with
    `environ`.
    """

    authority: Authority | None = None
    host_ca: bool = False

    def __bool__(self) -> bool:
        return self.host_ca or self.authority is not None

    def environ(self) -> dict[str, str]:
        """Return the variables by which the programs of the guest find the certificates."""
        if not self:
            return {}
        return _ENVIRON | (dict.fromkeys(_ADDING, BUNDLE) if self.host_ca else {})

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Return the files for the guest's root: guest path → mode, content."""
        if not self:
            return {}
        certificate = self.authority.certificate if self.authority is not None else b""
        bundle = host_roots().read_bytes().rstrip() + b"\n" + certificate
        found = {BUNDLE: _BEGIN + bundle + _END if self.host_ca else bundle}
        if certificate:
            found |= {_CERTIFICATE: certificate, **dict.fromkeys(_SYSTEM_FILES[:2], certificate)}
        java = java_store(certificate)
        if sum(map(len, found.values())) + len(java) < _ROOM:
            found[_JAVA] = java
        return {path: (0o644, content) for path, content in found.items()}

    def system_store_commands(self) -> list[list[str]]:
        """Return the commands that add the `files` to the lists of the guest's image, for its root to run.

        They need a shell: an image without one has no programs that read these lists.
        """
        shell = ["/bin/sh", "-c", _ADD, "sh"]
        if self.host_ca:
            return [[*shell, _BEGIN.decode().strip(), BUNDLE, _SYSTEM_FILES[3]]]
        if self.authority is not None:
            return [[*shell, self.authority.certificate.decode().splitlines()[2], _CERTIFICATE, ""]]
        return []

    def without(self, listed: bytes) -> bytes:
        """Return a list of trusted certificates without those that were added."""
        listed = _OF_HOST.sub(b"", listed)
        if self.authority is None:
            return listed
        return listed.replace(b"\n" + self.authority.certificate, b"").replace(self.authority.certificate, b"")


def is_our_ca_file(path: str) -> bool:
    """Return whether a file of a guest is one of `GuestCA`."""
    return path in _SYSTEM_FILES or path == _FOLDER or path.startswith(f"{_FOLDER}/")
