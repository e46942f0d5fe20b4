"""The package mirrors of this host, taken along into machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import render_hints
from pyro_mcp.host.mirrors import Mirrors, host_mirrors
from pyro_mcp.machines.guest_mirrors import check_mirrors, mirror_environ
from pyro_mcp.machines.network_policy import EGRESS, NetworkPolicy
from pyro_mcp.mcp_server.tool_words import ToolWords

WANTED = NetworkPolicy(EGRESS, host_mirrors=True)


@pytest.fixture(autouse=True)
def no_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which pip and npm have no settings."""
    for name in (
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_CONFIG_FILE",
        "npm_config_registry",
        "NPM_CONFIG_REGISTRY",
    ):
        monkeypatch.delenv(name, raising=False)
    (home / "pip.conf").write_text("[global]\nindex-url =\nextra-index-url =\n")  # whatever this machine itself has
    monkeypatch.setenv("PIP_CONFIG_FILE", str(home / "pip.conf"))
    return home


def test_the_mirrors_of_pip_and_npm_are_found_without_names_and_passwords(no_settings: Path) -> None:
    (no_settings / "pip.conf").write_text(
        "[global]\nindex-url = https://me:secret@pypi.example.com/simple\n"
        "extra-index-url =\n  https://token@more.example.com/simple\n  file:///wheels\n"
    )
    (no_settings / ".npmrc").write_text("//npm.example.com/:_authToken=secret\nregistry=https://npm.example.com/\n")
    assert host_mirrors() == Mirrors(
        "https://pypi.example.com/simple", ("https://more.example.com/simple",), "https://npm.example.com/"
    )
    environ = mirror_environ(WANTED)
    assert environ["PIP_INDEX_URL"] == environ["UV_DEFAULT_INDEX"] == "https://pypi.example.com/simple"
    assert environ["PIP_EXTRA_INDEX_URL"] == environ["UV_INDEX"] == "https://more.example.com/simple"
    assert environ["NPM_CONFIG_REGISTRY"] == "https://npm.example.com/"
    assert not any("secret" in value or "token" in value for value in environ.values())


def test_a_variable_counts_more_than_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:3141/root/pypi")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:4873")
    assert host_mirrors() == Mirrors("http://127.0.0.1:3141/root/pypi", (), "http://127.0.0.1:4873")


def test_nothing_is_taken_along_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.example.com/simple")
    assert mirror_environ(NetworkPolicy(EGRESS)) == {}
    check_mirrors(NetworkPolicy(EGRESS, ("example.org",)))


def test_a_mirror_that_the_machine_may_not_reach_is_named_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.example.com/simple")
    with pytest.raises(InvalidRequest) as refused:
        check_mirrors(NetworkPolicy(EGRESS, ("example.org",), host_mirrors=True))
    assert "allow_hosts=['pypi.example.com']" in refused.value.hint
    check_mirrors(NetworkPolicy(EGRESS, ("example.org", "pypi.example.com"), host_mirrors=True))
    check_mirrors(WANTED)


def test_mirrors_are_refused_where_there_are_none_and_without_network() -> None:
    with pytest.raises(InvalidRequest, match="uses a mirror") as refused:
        check_mirrors(WANTED)
    assert refused.value.hint.endswith("(index-url in pip.conf, registry in .npmrc), or leave out host_mirrors=True")
    without_the_argument = ToolWords(arguments=frozenset())
    assert str(render_hints(refused.value.hint, without_the_argument)).startswith("configure a mirror on the host (")
    with pytest.raises(InvalidRequest, match="without network"):
        NetworkPolicy(host_mirrors=True)
