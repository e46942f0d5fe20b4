"""Secrets: what is kept, what is handed out, and what is never told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp.cli.secret_options import given_secrets
from pyro_mcp.engine.fake import FakeEngine, outcome
from pyro_mcp.engine.interface import Command, Outcome, Shape
from pyro_mcp.errors import GuestFailed, HostNotReady, InvalidRequest, NotFound, PyroError
from pyro_mcp.host.progress import silent
from pyro_mcp.machines.commands import ExecOptions
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.network_policy import EGRESS, NO_NETWORK, NetworkPolicy
from pyro_mcp.machines.secrets import Secrets, check_reach, read_secrets
from pyro_mcp.workspaces.access import WorkspaceAccess
from pyro_mcp.workspaces.recovery import Recovery
from pyro_mcp.workspaces.workspace_store import WorkspaceStore
from pyro_mcp.workspaces.workspaces import Workspaces
from tests.machines.test_one_shot import OneImage

VALUE = "ghp_0123456789abcdefghij"
TOKEN = {"name": "TOKEN", "value": VALUE}
BOUND = {"name": "API", "value": "sk-live-0123456789", "host": "API.Example.com."}


def kept(home: Path, *given: Mapping[str, Any]) -> Secrets:
    secrets = Secrets(home)
    secrets.keep(read_secrets(given))
    return secrets


def test_values_are_files_for_us_alone(tmp_path: Path) -> None:
    secrets = kept(tmp_path, TOKEN, BOUND)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    files = list((tmp_path / "secrets").iterdir())
    assert {file.name for file in files} == {"TOKEN", "API", "secrets.json"}
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert VALUE not in (tmp_path / "secrets/secrets.json").read_text()
    assert [one.value for one in secrets.all()] == [VALUE, BOUND["value"]]
    assert list(tmp_path.iterdir()) == [tmp_path / "secrets"]


def test_what_is_told_of_a_secret_is_its_name_its_source_and_its_host(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("ünlocked\n")
    secrets = kept(tmp_path, TOKEN, BOUND, {"name": "KEY", "file_path": str(tmp_path / "key")})
    assert secrets.described() == [
        {"name": "TOKEN", "source_kind": "literal"},
        {"name": "API", "source_kind": "literal", "host": "api.example.com", "header": "Authorization"},
        {"name": "KEY", "source_kind": "file"},
    ]
    assert secrets.environ(["KEY"]) == {"KEY": "ünlocked\n"}
    assert VALUE not in repr(secrets.all()) + repr(secrets.host_secrets())


def test_a_command_gets_only_what_it_names(tmp_path: Path) -> None:
    secrets = kept(tmp_path, TOKEN, {"name": "OTHER", "value": "x"})
    assert secrets.environ(None) == {}
    assert secrets.environ({"TOKEN": "GITHUB_TOKEN"}) == {"GITHUB_TOKEN": VALUE}
    assert secrets.environ(["TOKEN", "OTHER"]) == {"TOKEN": VALUE, "OTHER": "x"}
    with pytest.raises(NotFound, match="it has: TOKEN, OTHER"):
        secrets.environ(["MISSING"])
    with pytest.raises(InvalidRequest, match="two secrets want the variable X"):
        secrets.environ({"TOKEN": "X", "OTHER": "X"})
    for wrong in ({"TOKEN": "A=B"}, ["A B"], "TOKEN", {"TOKEN": ""}):
        with pytest.raises(InvalidRequest):
            secrets.environ(wrong)
    with pytest.raises(NotFound, match="create it with secrets"):
        Secrets(tmp_path / "none").environ(["TOKEN"])


def test_of_a_secret_for_one_host_the_guest_sees_a_placeholder(tmp_path: Path) -> None:
    secrets = kept(tmp_path, TOKEN, BOUND | {"value": "sk-live-0123456789\n"})
    placeholder = secrets.environ(["API"])["API"]
    assert placeholder.startswith("pyro-secret-API-") and len(placeholder) == len("pyro-secret-API-") + 16
    bound = secrets.host_secrets()
    assert [(one.name, one.placeholder, one.value, one.host, one.header) for one in bound] == [
        ("API", placeholder, "sk-live-0123456789", "api.example.com", "Authorization")
    ]
    assert secrets.mask().text(f"{BOUND['value']} {placeholder}") == f"[secret API] {placeholder}"


def test_a_secret_for_several_hosts_has_one_placeholder_and_its_place(tmp_path: Path) -> None:
    given = {"name": "KEY", "value": "sk-live-0123456789", "hosts": ["api.example.com", "EU.example.com."]}
    for place in ({"basic": "me"}, {"query": "key"}, {"header": "X-Key"}):
        (home := tmp_path / next(iter(place))).mkdir()
        secrets = kept(home, given | place)
        bound = Secrets(home).host_secrets()
        assert [one.host for one in bound] == ["api.example.com", "eu.example.com"]
        assert {one.placeholder for one in bound} == {secrets.environ(["KEY"])["KEY"]}
        assert {(one.basic, one.query) for one in bound} == {(place.get("basic"), place.get("query"))}
        (described,) = secrets.described()
        assert described == {
            "name": "KEY", "source_kind": "literal", "host": "api.example.com",
            "hosts": ["api.example.com", "eu.example.com"], **place,
        }  # fmt: skip


def test_damaged_secrets_are_an_error_and_never_go_unmasked(tmp_path: Path) -> None:
    secrets = kept(tmp_path, TOKEN, BOUND)
    (tmp_path / "secrets/API").unlink()
    for use in (secrets.mask, secrets.described, secrets.host_secrets, lambda: secrets.environ(["TOKEN"])):
        with pytest.raises(HostNotReady, match="not a workspace's secrets any more"):
            use()


def test_another_workspace_adopts_values_and_placeholders(tmp_path: Path) -> None:
    first, second = kept(tmp_path / "1", TOKEN, BOUND), Secrets(tmp_path / "2")
    (tmp_path / "2").mkdir()
    second.adopt(first)
    assert second.all() == first.all()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"name": "1ST", "value": "x"}, "cannot name a secret"),
        ({"name": "A-B", "value": "x"}, "cannot name a secret"),
        ({"name": "../etc", "value": "x"}, "cannot name a secret"),
        ({"name": f"{VALUE}\n", "value": "x"}, "cannot name a secret"),
        ({"name": "A"}, "either a value or a file_path"),
        ({"name": "A", "value": "x", "file_path": "y"}, "either a value or a file_path"),
        ({"value": VALUE}, "a secret is"),
        ({"name": "A", "value": "x", "more": "y"}, "a secret is"),
        ({"name": "A", "value": "x", "basic": "me"}, "has a basic and no host"),
        ({"name": "A", "value": "x", "hosts": []}, "a list of 1–16 names"),
        ({"name": "A", "value": "x", "hosts": "a.test"}, "a list of 1–16 names"),
        ({"name": "A", "value": "x", "hosts": [5]}, "for one host"),
        ({"name": "A", "value": "x", "hosts": ["a.test", None]}, "for one host"),
        ({"name": "A", "value": "x", "host": "a.test", "hosts": ["b.test"]}, "a host and hosts"),
        ({"name": "A", "value": "x", "host": "a.test", "query": "k", "basic": "me"}, "more than one place"),
        ({"name": "A", "value": ""}, "is empty"),
        ({"name": "A", "value": f"{VALUE}\0"}, "NUL"),
        ({"name": "A", "value": f"{VALUE}\udcff"}, "UTF-8"),
        ({"name": "A", "value": VALUE * 3000}, "larger than 64 KiB"),
        ({"name": "A", "value": 5}, "is text"),
        ({"name": "A", "file_path": "/does/not/exist"}, "cannot read /does/not/exist: No such file"),
        ({"name": "A", "value": f"{VALUE}\nx", "host": "a.example"}, "HTTP header"),
        ({"name": "A", "value": VALUE * 400, "host": "a.example"}, "larger than 8 KiB"),
        ({"name": "A", "value": VALUE, "host": "127.0.0.1"}, "one host"),
        ({"name": "A", "value": VALUE, "host": "*.example.com"}, "one host"),
        ({"name": "A", "value": VALUE, "host": "example.com:443"}, "one host"),
        ({"name": "A", "value": VALUE, "host": "localhost"}, "one host"),
        ({"name": "A", "value": VALUE, "header": "X-Api-Key"}, "a header and no host"),
        ({"name": "A", "value": VALUE, "host": "a.example", "header": "Range"}, "cannot be for the header"),
        ({"name": "A", "value": VALUE, "host": "a.example", "header": "X: y"}, "cannot be for the header"),
    ],
)
def test_what_cannot_be_a_secret_is_refused_and_not_told(given: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        read_secrets([given])
    assert VALUE not in str(caught.value)


def test_secrets_are_a_list_of_different_ones() -> None:
    for wrong in ({"TOKEN": VALUE}, VALUE, 5, [TOKEN, TOKEN], [VALUE], [TOKEN] * 101):
        with pytest.raises(InvalidRequest) as caught:
            read_secrets(wrong)  # type: ignore[arg-type]
        assert VALUE not in str(caught.value)


def test_the_longest_value_and_the_strangest_are_kept_exactly(tmp_path: Path) -> None:
    long, strange = "x" * 64 * 1024, " \r\n'\"$(id)\t\x1b[31mé\U0001f512"
    secrets = kept(tmp_path, {"name": "LONG", "value": long}, {"name": "strange_1", "value": strange})
    assert [one.value for one in secrets.all()] == [long, strange]


def test_a_secret_for_a_host_needs_a_network() -> None:
    bound = read_secrets([BOUND])
    check_reach(bound, NetworkPolicy(EGRESS))
    check_reach(read_secrets([TOKEN]), NO_NETWORK)
    check_reach(bound, NetworkPolicy(EGRESS, ("*.example.com",)))
    for allowed in ("other.example.com", "api.example.com:8443"):
        with pytest.raises(InvalidRequest, match=r"allow_hosts=\['api\.example\.com'\]"):
            check_reach(bound, NetworkPolicy(EGRESS, (allowed,)))
    with pytest.raises(InvalidRequest, match="network_policy='egress'"):
        check_reach(bound, NO_NETWORK)


def options(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    import argparse  # noqa: PLC0415

    from pyro_mcp.cli.secret_options import secret_options  # noqa: PLC0415

    monkeypatch.setenv("FROM_OUTSIDE", VALUE)
    parser = argparse.ArgumentParser()
    secret_options(parser)
    return given_secrets(parser.parse_args(words))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--secret", "A=x=y"], {"name": "A", "value": "x=y"}),
        (["--secret", "A=p@ss"], {"name": "A", "value": "p@ss"}),
        (["--secret", "A=p@"], {"name": "A", "value": "p@"}),
        (["--secret", "A@a.test,b.test=x"], {"name": "A", "hosts": ["a.test", "b.test"], "value": "x"}),
        (["--secret", "A@a.test=x", "--secret-basic", "A=me"],
         {"name": "A", "host": "a.test", "value": "x", "basic": "me"}),
        (["--secret", "A@a.test=x", "--secret-query", "A=key"],
         {"name": "A", "host": "a.test", "value": "x", "query": "key"}),
        (["--secret", "A=@api.example.com"], {"name": "A", "value": "@api.example.com"}),
        (["--secret", "A=postgres://u:p@db.example/x"], {"name": "A", "value": "postgres://u:p@db.example/x"}),
        (["--secret", "A@h.example=me@example.com"], {"name": "A", "value": "me@example.com", "host": "h.example"}),
        (["--secret", "A@h.example=x", "--secret-header", "A=X-Key"],
         {"name": "A", "value": "x", "host": "h.example", "header": "X-Key"}),
        (["--secret", "FROM_OUTSIDE"], {"name": "FROM_OUTSIDE", "value": VALUE}),
        (["--secret", "FROM_OUTSIDE@h.example"], {"name": "FROM_OUTSIDE", "value": VALUE, "host": "h.example"}),
        (["--secret-file", "A=a/b@c.example"], {"name": "A", "file_path": "a/b@c.example"}),
        (["--secret-file", "A@h.example=a/b"], {"name": "A", "file_path": "a/b", "host": "h.example"}),
    ],
)  # fmt: skip
def test_the_command_line_has_a_form_for_each(
    words: list[str], wanted: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert options(words, monkeypatch) == [wanted]


@pytest.mark.parametrize("end", ["example.org", "10.0.0.1", "LOCALHOST", "*.example.com", "a.example:443", "[::1]"])
def test_a_value_that_could_end_in_a_host_is_not_guessed_at(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="could be meant for that host alone") as caught:
        options(["--secret", f"MAIL={VALUE}@{end}"], monkeypatch)
    assert VALUE not in str(caught.value) and end not in str(caught.value)
    assert "--secret NAME@HOST=VALUE" in caught.value.hint and "--secret-file NAME=PATH" in caught.value.hint


@pytest.mark.parametrize("words", [["--secret", VALUE], ["--secret-file", VALUE], ["--secret-header", "A=X-Key"]])
def test_a_wrong_option_is_refused_and_not_told(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest) as caught:
        options(words, monkeypatch)
    assert VALUE not in str(caught.value)


class Desk:
    """Workspaces over a fake engine."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        images, workspace_store = OneImage(), WorkspaceStore(lifecycle.store)
        self.workspaces, self.inside = (
            Workspaces(lifecycle, images, workspace_store, Recovery(lifecycle, workspace_store)),
            WorkspaceAccess(lifecycle, images, workspace_store),
        )

    def create(self, *secrets: Mapping[str, str], network: NetworkPolicy = NO_NETWORK) -> str:
        made = self.workspaces.create(
            "debian:12", Shape(), seed_path=None, name=None, labels={}, ttl_seconds=600, network=network,
            secrets=secrets, progress=silent,
        )  # fmt: skip
        return made["workspace_id"]


@pytest.fixture
def desk(lifecycle: Lifecycle) -> Desk:
    return Desk(lifecycle)


def test_a_command_gets_its_secret_and_nobody_sees_it_printed(
    desk: Desk, engine: FakeEngine, lifecycle: Lifecycle
) -> None:
    def answer(command: Command) -> Outcome:
        value = command.environ["GITHUB_TOKEN"].encode()
        return outcome(0, b"it is " + value + b".", b"no " + value[:5])

    engine.answer = answer
    id_ = desk.create(TOKEN)
    live: list[bytes] = []
    done = desk.inside.exec(
        id_, f"echo {VALUE}", "/workspace", ExecOptions(on_stdout=live.append, secret_env={"TOKEN": "GITHUB_TOKEN"})
    )
    assert engine.commands[0].environ["GITHUB_TOKEN"] == VALUE
    assert done["stdout"] == b"".join(live).decode() == "it is [secret TOKEN]."
    assert done["stderr"] == "no ghp_0"
    assert (done["stdout_bytes"], done["truncated"]) == (len(done["stdout"]), False)
    assert done["command"] == "echo [secret TOKEN]"
    assert desk.inside.logs(id_)["entries"][0]["stdout"] == "it is [secret TOKEN]."
    told = json.dumps([done, desk.inside.logs(id_), desk.workspaces.status(id_), desk.workspaces.list()])
    assert VALUE not in told
    with closing(sqlite3.connect(lifecycle.folders.state / "pyro.db")) as database, database:
        assert VALUE not in "".join(database.iterdump())


def test_output_is_masked_before_it_is_cut(desk: Desk, engine: FakeEngine) -> None:
    engine.answer = lambda _: outcome(0, b"x" * 10 + VALUE.encode())
    done = desk.inside.exec(desk.create(TOKEN), "x", "/workspace", ExecOptions(output_cap=15))
    assert done["stdout"] == "x" * 10 + "[secr"
    assert done["stdout_bytes"] == 10 + len("[secret TOKEN]") and done["truncated"]


def test_an_error_of_the_guest_does_not_tell_a_secret(desk: Desk, engine: FakeEngine) -> None:
    id_ = desk.create(TOKEN)
    engine.failures["run"] = GuestFailed(f"no program {VALUE}")
    with pytest.raises(GuestFailed, match=r"no program \[secret TOKEN\]"):
        desk.inside.exec(id_, "x", "/workspace", ExecOptions())


def test_a_refused_command_is_not_in_the_history(desk: Desk) -> None:
    id_ = desk.create(TOKEN)
    with pytest.raises(NotFound):
        desk.inside.exec(id_, "x", "/workspace", ExecOptions(secret_env=["MISSING"]))
    assert desk.inside.logs(id_)["count"] == 0


def test_secrets_stay_through_reset_stop_and_start_and_go_with_the_workspace(desk: Desk, lifecycle: Lifecycle) -> None:
    id_ = desk.create(TOKEN)
    desk.workspaces.reset(id_, "baseline", silent)
    desk.workspaces.stop(id_)
    assert desk.workspaces.start(id_, silent)["secrets"] == [{"name": "TOKEN", "source_kind": "literal"}]
    assert len(list(lifecycle.folders.state.rglob("*TOKEN*"))) == 1
    desk.workspaces.delete(id_)
    assert not list(lifecycle.folders.state.rglob("*TOKEN*"))


def test_a_workspace_whose_secrets_are_refused_is_not_made(desk: Desk, lifecycle: Lifecycle) -> None:
    for wrong in ({"name": "A", "value": ""}, BOUND):
        with pytest.raises(PyroError):
            desk.create(wrong)
    assert lifecycle.store.all() == []
    assert not (lifecycle.folders.state / "machines").exists()
