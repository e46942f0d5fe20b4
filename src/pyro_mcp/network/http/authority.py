"""A certificate authority for one guest, which trusts it for the hosts of its secrets and for no other."""

from __future__ import annotations

import datetime
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_mcp.errors import HostNotReady
from pyro_mcp.host.files import atomic_folder, private_directory, write_private

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SUBJECT = "pyro-mcp workspace authority"
SUBJECT_HASH = "5e5fc86e"
"""OpenSSL's hash of `SUBJECT`: the file name, with the suffix `.0`, of its certificate in a folder of trusted ones."""
_VALID = datetime.timedelta(days=3650)
_CERTIFICATE, _KEYS = "ca.pem", "hosts"
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
JAVA_PASSWORD = "changeit"  # noqa: S105 - Java's own default; the store holds nothing secret


class Authority:
    """The certificate authority in `folder` with certificates for `hosts`; it is created when first used.

    Its key signs these once, and is then discarded: nobody can have it sign another certificate.
    """

    def __init__(self, folder: Path, hosts: Sequence[str]) -> None:
        self._folder = folder
        self._hosts = sorted(set(hosts))

    @property
    def certificate(self) -> bytes:
        """The certificate of the authority, PEM: the one that the guest must trust."""
        self._create()
        return (self._folder / _CERTIFICATE).read_bytes()

    @property
    def identities(self) -> dict[str, str]:
        """The private key and certificate of each host, PEM."""
        self._create()
        return {host: (self._folder / _KEYS / host).read_text() for host in self._hosts}

    def to_json(self) -> dict[str, Any]:
        """Return what the gateway needs: `identities`, and the file with the authorities that this host trusts."""
        return {"identities": self.identities, "roots": str(host_roots())}

    def adopt(self, other: Authority) -> None:
        """Copy another guest's authority, if that was created already."""
        if other._folder.exists():
            with atomic_folder(self._folder) as scratch:
                shutil.copytree(other._folder, scratch, dirs_exist_ok=True)

    def _create(self) -> None:
        if (self._folder / _CERTIFICATE).exists():
            return
        with atomic_folder(self._folder) as scratch:
            private_directory(scratch / _KEYS)
            certificate, issued = _issue(self._hosts)
            write_private(scratch / _CERTIFICATE, certificate)
            for host, identity in issued.items():
                write_private(scratch / _KEYS / host, identity)


def host_roots() -> Path:
    """Return the file with the certificates that this host trusts; raises `HostNotReady` when there is none."""
    import ssl  # noqa: PLC0415 - slow to load

    given = os.environ.get("SSL_CERT_FILE", "")
    for path in (given, ssl.get_default_verify_paths().cafile, *_BUNDLES):
        if path and os.path.isfile(path):
            return Path(path)
    raise HostNotReady("this host has no list of trusted certificates", hint="apt-get install ca-certificates")


def java_store(more: bytes = b"") -> bytes:
    """Return the certificates that this host trusts, and `more` (PEM), as a PKCS #12 store that Java trusts."""
    from cryptography import x509  # noqa: PLC0415 - slow to load, and few machines need it
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some old authorities have serial numbers that are invalid today
        found = x509.load_pem_x509_certificates(host_roots().read_bytes() + b"\n" + more)
    entries = [pkcs12.PKCS12Certificate(one, f"ca-{number}".encode()) for number, one in enumerate(found)]
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(JAVA_PASSWORD.encode()))


def _issue(hosts: Sequence[str]) -> tuple[bytes, dict[str, bytes]]:
    """Return the certificate of a new authority, and the key and certificate of each host, all PEM."""
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    own = ec.generate_private_key(ec.SECP256R1())
    issuer = _authority_certificate(own, hosts)
    issued = {}
    for host in hosts:
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        issued[host] = private + _host_certificate(host, key, own, issuer).public_bytes(Encoding.PEM)
    return issuer.public_bytes(Encoding.PEM), issued


def _builder(subject: str, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    from cryptography import x509  # noqa: PLC0415

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(_named(SUBJECT))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority_certificate(key: EllipticCurvePrivateKey, hosts: Sequence[str]) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    allowed = x509.NameConstraints([x509.DNSName(host) for host in hosts], None)
    return (
        _builder(SUBJECT, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(allowed, critical=True)
        .sign(key, SHA256())
    )


def _host_certificate(
    host: str, key: EllipticCurvePrivateKey, own: EllipticCurvePrivateKey, issuer: x509.Certificate
) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(host[:64], key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(own, SHA256())
    )


def _named(common_name: str) -> x509.Name:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509  # noqa: PLC0415

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
