"""Addresses of repositories and names of refs that a manifest may declare."""

from __future__ import annotations

import pytest

from claude_bottle.errors import ManifestError
from claude_bottle.gate import PushRule
from claude_bottle.gate.remotes import check_pattern, is_plain_ref, other_spellings, same_place, transport_of
from claude_bottle.manifest import Manifest


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("/srv/app.git", "file"),
        ("~/app", "file"),
        ("file:///srv/app.git", "file"),
        ("https://git.example/acme/app.git", "https"),
        ("ssh://git@git.example:2222/acme/app", "ssh"),
        ("git@git.example:acme/app.git", "ssh"),
    ],
)
def test_a_folder_https_and_ssh_are_addresses(url: str, transport: str) -> None:
    assert transport_of(url) == transport


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch /tmp/x'",
        "fd::17/foo",
        "helper::https://git.example/a",
        "http://git.example/acme/app",
        "git://git.example/acme/app",
        "https://user:word@git.example/acme/app",
        "https://token@git.example/acme/app",
        "ssh://-oProxyCommand=x/acme",
        "-oProxyCommand=x:acme",
        "git@-oProxyCommand=x:acme",
        "git.example:-upload",
        "--upload-pack=x",
        "relative/folder",
        "https://git.example/a b",
        "https://git.example/a\nb",
        "https://git.example:99999/a",
        "/srv/a\x1b[2J",
        "",
    ],
)
def test_no_other_form_of_address_is_accepted(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|leave it out|control"):
        transport_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://Git.Example/acme/app",
        "https://someone:word@git.example/acme/app.git",
        "ssh://git@git.example/acme/app.git",
        "git@git.example:acme/app.git",
        "git.example:/acme/app/",
    ],
)
def test_all_spellings_of_a_repository_are_one_place(url: str) -> None:
    assert same_place(url) == ("git.example", "acme/app")


def test_the_guest_knows_the_upstream_by_all_its_spellings() -> None:
    found = other_spellings("git@git.example:acme/app.git")
    assert {"https://git.example/acme/app", "git@git.example:acme/app.git", "ssh://git@git.example/acme/app"} <= set(
        found
    )


@pytest.mark.parametrize(
    "ref", ["refs/heads/*", "refs/heads/agent/*", "refs/heads/main", "refs/tags/v1", "refs/heads/a.b/c_d-e"]
)
def test_patterns_of_branches_and_tags_are_accepted(ref: str) -> None:
    assert check_pattern(ref) == ref


@pytest.mark.parametrize(
    "ref", ["main", "refs/*", "*", "refs/heads/", "refs/heads/a*", "refs/notes/x", "refs/heads/../x"]
)
def test_other_patterns_are_refused(ref: str) -> None:
    with pytest.raises(ValueError, match="no name of a branch"):
        check_pattern(ref)


@pytest.mark.parametrize(
    "ref",
    [
        "refs/heads/a..b", "refs/heads/x.lock", "refs/heads/-x", "refs/heads/.x", "refs/heads/a b", "refs/heads/a\nb",
        "refs/heads/a@{1}", "refs/heads/@", "refs/heads/x.", "refs/heads/a//b", "HEAD", "refs/pull/1/head",
        "refs/heads/ü",
    ],
)  # fmt: skip
def test_odd_names_of_refs_are_not_plain(ref: str) -> None:
    assert is_plain_ref("refs/heads/agent/fix-1")
    assert not is_plain_ref(ref)


def test_a_pattern_matches_what_is_below_it_only() -> None:
    rule = PushRule("refs/heads/agent/*")
    assert rule.matches("refs/heads/agent/a/b")
    assert not rule.matches("refs/heads/agent")
    assert not rule.matches("refs/heads/agents/x")


def test_one_repository_has_one_remote() -> None:
    remotes = {"a": {"url": "https://git.example/x/y"}, "b": {"url": "git@git.example:x/y.git"}}
    with pytest.raises(ManifestError, match=r"same repository as a"):
        Manifest.from_json_obj({"bottles": {"dev": {"git": {"remotes": remotes}}}})
