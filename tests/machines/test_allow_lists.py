"""Allow lists as they are typed, kept and shown."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp.cli.options import allow_host_option, allow_list, request_options
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.machines.network_policy import EGRESS, NetworkPolicy
from pyro_mcp.machines.secrets import Secrets, check_reach, read_secrets
from pyro_mcp.results import shown_attempt, shown_entry


def typed(*words: str) -> Sequence[Any]:
    parser = argparse.ArgumentParser()
    allow_host_option(parser, "only these")
    request_options(parser)
    return allow_list(parser.parse_args(words))


@pytest.mark.parametrize(
    ("words", "entries"),
    [
        (["--allow-host", "a.test"], ["a.test"]),
        (["--allow-request", "GET https://A.test/x/*"],
         [{"host": "a.test:443", "methods": ["GET"], "paths": ["/x/*"]}]),
        (["--allow-request", "GET,POST https://a.test"],
         [{"host": "a.test:443", "methods": ["GET", "POST"], "paths": ["/*"]}]),
        (["--allow-request", "* https://a.test:8443/"], [{"host": "a.test:8443", "paths": ["/"]}]),
        (["--allow-request", "GET http://a.test/x"], [{"host": "a.test:80", "methods": ["GET"], "paths": ["/x"]}]),
        (["--upstream", "m.internal:8000=http://127.0.0.1:80"],
         [{"host": "m.internal:8000", "upstream": "http://127.0.0.1:80"}]),
        (["--upstream", "a.test=http://127.0.0.1:80", "--allow-request", "POST https://a.test/v1/*"],
         [{"host": "a.test:443", "methods": ["POST"], "paths": ["/v1/*"], "upstream": "http://127.0.0.1:80"}]),
        (["--upstream", "A.test.=http://127.0.0.1:80", "--allow-request", "GET http://a.test/x"],
         [{"host": "a.test:80", "methods": ["GET"], "paths": ["/x"], "upstream": "http://127.0.0.1:80"}]),
        (["--upstream", "a.test:443=http://127.0.0.1:80", "--allow-request", "GET https://a.test/x"],
         [{"host": "a.test:443", "methods": ["GET"], "paths": ["/x"], "upstream": "http://127.0.0.1:80"}]),
    ],
)  # fmt: skip
def test_what_is_typed_becomes_entries_of_an_allow_list(words: list[str], entries: list[Any]) -> None:
    assert typed(*words) == entries
    assert list(NetworkPolicy(EGRESS, tuple(entries)).allow_hosts) == entries


@pytest.mark.parametrize(
    "words",
    [
        ["--allow-request", "https://a.test/x"],
        ["--allow-request", "GET a.test/x"],
        ["--allow-request", "GET ftp://a.test/x"],
        ["--allow-request", "GET https:///x"],
        ["--upstream", "http://127.0.0.1:80"],
        ["--upstream", "=http://127.0.0.1:80"],
        ["--upstream", "a.test=http://127.0.0.1:80", "--upstream", "A.test.=http://127.0.0.1:81"],
        ["--upstream", "a.test:443=http://127.0.0.1:80", "--allow-request", "GET http://a.test/x"],
        ["--upstream", "a.test=http://127.0.0.1:80", "--allow-request", "GET https://a.test:8443/x"],
        [
            "--upstream",
            "a.test:80=http://127.0.0.1:80",
            "--upstream",
            "a.test:443=http://127.0.0.1:81",
            "--allow-request",
            "GET https://a.test/x",
        ],
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_form(words: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        typed(*words)
    assert words[0] in f"{caught.value} {caught.value.hint}"


def test_an_entry_and_an_attempt_are_shown_in_one_line() -> None:
    assert shown_entry("a.test:22") == "a.test:22"
    led = {"host": "a.test", "methods": ["GET", "PUT"], "paths": ["/x", "/y/*"], "upstream": "http://127.0.0.1:80"}
    assert shown_entry(led) == "GET,PUT a.test /x /y/* -> http://127.0.0.1:80"  # type: ignore[arg-type]
    attempt = {
        "name": "a.test",
        "address": None,
        "port": 443,
        "method": "GET",
        "path": "/x",
        "upstream": "127.0.0.1:80",
    }
    assert shown_attempt(attempt) == "GET a.test:443/x -> 127.0.0.1:80"  # type: ignore[arg-type]


def test_tls_ends_for_the_hosts_of_secrets_and_of_special_entries(tmp_path: Path) -> None:
    network = NetworkPolicy(EGRESS, ("a.test", {"host": "b.test", "methods": ["GET"]}))
    secrets = Secrets(tmp_path)
    authority = secrets.authority(network)
    assert authority is not None and set(authority.identities) == {"b.test"}
    assert secrets.authority(NetworkPolicy(EGRESS, ("a.test",))) is None
    copy = Secrets(tmp_path / "copy")
    copy.adopt(secrets)
    adopted = copy.authority(network)
    assert adopted is not None and adopted.certificate == authority.certificate


def test_a_secret_may_be_for_a_name_that_leads_to_this_host() -> None:
    bound = read_secrets([{"name": "K", "value": "value-0123456789", "host": "space.internal"}])
    led = {"host": "space.internal:8000", "upstream": "http://127.0.0.1:8000"}
    check_reach(bound, NetworkPolicy(EGRESS, (led,)))
    with pytest.raises(InvalidRequest, match="port 443 is not in the allow list"):
        check_reach(bound, NetworkPolicy(EGRESS, ("space.internal:8000",)))
