"""The certificates of a bottle's authority reach its guest, for a backend whose machine does not bring them."""

from __future__ import annotations

from pathlib import Path

from claude_bottle.provision.ca import provision_ca
from pyro_mcp.network import Authority, GuestCA
from tests.bottles.memory_guest import MemoryGuest


def test_a_guest_gets_the_certificates_and_the_variables_that_name_them(tmp_path: Path) -> None:
    ca, guest = GuestCA(Authority(tmp_path / "authority", ["api.example.com"])), MemoryGuest()
    environ = provision_ca(guest, ca)

    java = "/etc/pyro-mcp/java.p12"  # each one is encrypted with a salt of its own
    given = {path: content for path, (_, content) in ca.files().items()}
    assert guest.files.pop(java) and given.pop(java)
    assert guest.files == given
    for variable in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        assert environ[variable] in guest.files
    assert java in environ["JAVA_TOOL_OPTIONS"]
    assert [("run", *argv) for argv in ca.system_store_commands()] == guest.calls[-1:]
    modes = {path: f"{mode:o}" for path, (mode, _) in ca.files().items()}
    assert {call[3]: call[2] for call in guest.calls if call[:2] == ("run", "chmod")} == modes


def test_a_guest_without_an_authority_is_left_alone() -> None:
    guest = MemoryGuest()
    assert provision_ca(guest, GuestCA()) == {}
    assert guest.calls == []
