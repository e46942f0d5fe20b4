"""A login in containers: its files go in, and come out also after the agent, and with it the container, has ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bottle import state
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.names import Names
from claude_bottle.bottles import Bottles
from claude_bottle.errors import BottleFailed
from claude_bottle.logins import kept_login
from claude_bottle.manifest import LoadedManifest, Manifest
from tests.bottles.docker.conftest import IMAGE, Shelf

FIRST, RENEWED = "the-first-token", "the-renewed-token"
PATH = "/workspace/bin:/usr/bin:/bin"


def tokens(refresh: str) -> dict[str, object]:
    return {"claudeAiOauth": {"refreshToken": refresh}}


def test_a_login_enters_the_next_container_and_is_read_after_its_end(engine: Engine, home: Path) -> None:
    program = home / "project/bin/claude"
    program.parent.mkdir()
    write = "mkdir -p ~/.claude; echo '{}' >~/.claude/.credentials.json"
    agent = {"bottle": "b", "login": "keep"}
    bottle = {"environment": f"oci:{IMAGE}", "env": {"PATH": PATH}}
    manifest = Manifest.from_json_obj({"bottles": {"b": bottle}, "agents": {"dev": agent}})
    bottles = Bottles(
        folder=home / "project",
        manifest=LoadedManifest(manifest=manifest, levels={}, digests={}, settings=()),
    )
    for script, kept in (
        (write.format(json.dumps(tokens(FIRST))), FIRST),
        (f"grep {FIRST} ~/.claude/.credentials.json && {write.format(json.dumps(tokens(RENEWED)))}", RENEWED),
        ("stat -c '%a %U' ~/.claude/.credentials.json", RENEWED),
    ):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        slug = bottles.run("dev", backend="docker", copy_cwd=True)["slug"]
        names = Names(slug, state.stage_dir(slug))
        engine.call(["wait", names.container], deadline_seconds=60)
        shown = bottles.logs(slug)["output"]
        assert bottles.stop(slug) == {"stopped": [slug], "remarks": []}
        assert kept_login("dev", "claude").files == {".claude/.credentials.json": tokens(kept)}, shown
    assert "600 agent" in shown


HOSTILE = """
cd; mkdir folder; ln -s /etc/passwd link; ln -s folder/file into; echo inside >folder/file; mkfifo pipe
ln -s /etc linked; truncate -s 1T sparse; head -c 2000 /dev/zero >large; printf fits >fits; : >empty
"""


def test_a_file_of_a_hostile_home_is_small_and_regular(shelf: Shelf) -> None:
    bottle = shelf.launch(["sh", "-euc", HOSTILE])
    assert shelf.wait(bottle) == 0

    assert bottle.read_home("fits", most=4) == b"fits"
    assert bottle.read_home("empty", most=4) == b""
    assert bottle.read_home("missing", most=4) is None
    assert bottle.read_home("folder/missing/file", most=4) is None
    for name in ("folder", "link", "into", "pipe", "sparse", "large", "linked"):
        with pytest.raises(BottleFailed, match=f"~/{name}"):
            bottle.read_home(name, most=1000)
    root = bottle.read_home("linked/passwd", most=10_000)
    assert root is not None and b"agent:x:1000" in root  # the image's own, never this host's
