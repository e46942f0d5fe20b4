"""What makes the programs of a machine trust its own authority, beside all that this host trusts."""

from __future__ import annotations

from pyro_mcp.engine import Command, Session
from pyro_mcp.network import JAVA_PASSWORD, SUBJECT_HASH, Authority, host_roots

_FOLDER = "/etc/pyro-mcp"
_CERTIFICATE, BUNDLE, _JAVA = f"{_FOLDER}/ca.pem", f"{_FOLDER}/bundle.pem", f"{_FOLDER}/java.p12"
_ROOM = 900_000  # of the 1 MiB that a machine is told at its start
_DEADLINE = 10.0

ENVIRON = {
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
"""For every command of such a machine: OpenSSL, Go, Python, curl, git, pip, Rust, Node, Java look there."""

LISTS = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)  # fmt: skip
"""Where distributions keep the certificates that the machine trusts, as one file."""
_SYSTEM_FILES = (
    "/usr/local/share/ca-certificates/pyro-mcp.crt",
    f"/etc/ssl/certs/{SUBJECT_HASH}.0",
    "/etc/ssl/certs/pyro-mcp.pem",  # what update-ca-certificates makes of the first
)

# For programs that heed no variable. The list is the image's own; what is there already is not added again.
_ADD = f"""\
line=$(sed -n 3p {_CERTIFICATE})
for list in {" ".join(LISTS)}
do
    if [ -f "$list" ] && ! grep -qF -- "$line" "$list"; then {{ echo; cat {_CERTIFICATE}; }} >> "$list"; fi
done
"""


def files(authority: Authority) -> dict[str, tuple[int, bytes]]:
    """What such a machine's root must hold: guest path → mode, content."""
    certificate = authority.certificate
    found = {
        _CERTIFICATE: certificate,
        BUNDLE: host_roots().read_bytes() + b"\n" + certificate,
        **dict.fromkeys(_SYSTEM_FILES[:2], certificate),
    }
    java = authority.java_store()
    if sum(map(len, found.values())) + len(java) < _ROOM:
        found[_JAVA] = java
    return {path: (0o644, content) for path, content in found.items()}


def add_to_system_store(session: Session) -> None:
    """Add the certificate to the lists that the machine's image has; one without a shell has to do without."""
    session.run(Command(["/bin/sh", "-c", _ADD], cwd="/", environ={"PATH": "/usr/bin:/bin"}, timeout_seconds=_DEADLINE))


def is_ours(path: str) -> bool:
    """Whether a file of a machine exists only because its gateway puts secrets in."""
    return path in _SYSTEM_FILES or path == _FOLDER or path.startswith(f"{_FOLDER}/")


def without(listed: bytes, authority: Authority | None) -> bytes:
    """A list of trusted certificates without that of the machine's own authority."""
    if authority is None:
        return listed
    return listed.replace(b"\n" + authority.certificate, b"").replace(authority.certificate, b"")
