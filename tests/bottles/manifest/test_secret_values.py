"""The value of a secret, from a variable or a file of this host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.manifest import SecretConfig
from pyro_mcp.errors import InvalidRequest


def value_of_file(path: Path) -> str:
    return SecretConfig(file=str(path), hosts=("a.example",)).value("TOKEN")


def test_a_value_comes_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = SecretConfig(env="MY_TOKEN", hosts=("a.example",))
    monkeypatch.setenv("MY_TOKEN", "s3cr3t")
    assert secret.value("TOKEN") == "s3cr3t"

    monkeypatch.setenv("MY_TOKEN", "")
    with pytest.raises(InvalidRequest, match="the secret TOKEN is the variable MY_TOKEN of this host"):
        secret.value("TOKEN")


def test_a_value_comes_from_a_file_without_the_line_break_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(" s3cr3t \r\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert value_of_file(tmp_path / "token") == " s3cr3t "
    assert SecretConfig(file="~/token", hosts=("a.example",)).value("TOKEN") == " s3cr3t "


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"s3cr3t\xff", "not text in UTF-8"),
        (b"s" * 65537, "larger than 64 KiB"),
    ],
)
def test_a_file_without_a_value_is_refused_and_not_quoted(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "token").write_bytes(content)

    with pytest.raises(InvalidRequest, match=said) as caught:
        value_of_file(tmp_path / "token")
    assert "s3cr3t" not in str(caught.value)


def test_a_file_that_is_missing_or_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    for name, said in (("none", "No such file"), ("fifo", "not a regular file"), (".", "not a regular file")):
        with pytest.raises(InvalidRequest, match=said):
            value_of_file(tmp_path / name)
