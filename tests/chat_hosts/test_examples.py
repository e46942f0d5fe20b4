"""What the examples show is what the commands print."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.style.project import ROOT
from tests.surfaces.conftest import Cli, cli

__all__ = ["cli"]  # a fixture

OWN = str(Path(sys.executable).parent / "pyro")
SHOWN = "/usr/local/bin/pyro"


@pytest.fixture
def printed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `print-config` prints for each host where no folder was moved, with the path that the examples show."""
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable)
    hosts = ("claude-code", "codex", "opencode")
    return {host: cli("host", "print-config", host).stdout.replace(OWN, SHOWN) for host in hosts}


def test_the_example_of_opencode_is_what_is_printed_for_it(printed: dict[str, str]) -> None:
    example = (ROOT / "examples/opencode_mcp_config.json").read_text()

    assert example == printed["opencode"]
    assert json.loads(example)["mcp"]["pyro"]["command"] == [SHOWN, "mcp", "serve", "--results=text"]


@pytest.mark.parametrize(
    ("document", "host"),
    [("claude_code_mcp.md", "claude-code"), ("codex_mcp.md", "codex"), ("mcp_client_config.md", "claude-code")],
)
def test_a_document_shows_the_settings_as_they_are_printed(document: str, host: str, printed: dict[str, str]) -> None:
    assert f"\n{printed[host]}```" in (ROOT / "examples" / document).read_text()
