"""What a guest needs to trust the authorities that its gateway uses."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pyro_mcp.network import Authority, GuestCA

HOST = "api.example.com"


def in_folder(folder: Path, argv: list[str]) -> None:
    """Run a command of the authority for a guest whose root is `folder`."""
    argv = [word.replace("/etc/", f"{folder}/etc/").replace("/usr/", f"{folder}/usr/") for word in argv[1:]]
    subprocess.run(["/bin/sh", *argv], check=True, timeout=30)


def placed(folder: Path, ca: GuestCA) -> None:
    """Put the files of the authority below `folder`, as a backend puts them into its guest."""
    for path, (mode, content) in ca.files().items():
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)


def test_programs_are_told_whom_to_trust_in_their_own_words() -> None:
    """By the documentation of OpenSSL, curl, git, requests, pip, the AWS tools, Cargo, Node, Deno and Java."""
    wanted = (
        "SSL_CERT_FILE CURL_CA_BUNDLE GIT_SSL_CAINFO REQUESTS_CA_BUNDLE PIP_CERT AWS_CA_BUNDLE CARGO_HTTP_CAINFO "
        "NODE_EXTRA_CA_CERTS DENO_CERT JAVA_TOOL_OPTIONS"
    )
    assert sorted(GuestCA(host_ca=True).environ()) == sorted(wanted.split())


def test_each_variable_names_a_file_that_the_guest_gets(tmp_path: Path) -> None:
    ca = GuestCA(Authority(tmp_path / "authority", [HOST]))

    variables = {name: value for name, value in ca.environ().items() if name != "JAVA_TOOL_OPTIONS"}
    assert set(variables.values()) <= ca.files().keys()
    assert {mode for mode, _ in ca.files().values()} == {0o644}


def test_the_commands_add_the_authority_to_the_list_of_the_image_once(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority", [HOST])
    ca = GuestCA(authority)
    listed = tmp_path / "root/etc/ssl/certs/ca-certificates.crt"
    listed.parent.mkdir(parents=True)
    listed.write_bytes(b"# the image's own")
    placed(tmp_path / "root", ca)

    for _ in range(2):
        for argv in ca.system_store_commands():
            in_folder(tmp_path / "root", argv)

    assert listed.read_bytes() == b"# the image's own\n" + authority.certificate
    assert ca.without(listed.read_bytes()) == b"# the image's own"


def test_without_an_authority_a_guest_gets_nothing() -> None:
    nothing = GuestCA()

    assert (nothing.environ(), nothing.files(), nothing.system_store_commands()) == ({}, {}, [])
