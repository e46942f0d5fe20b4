"""A bottle in a container of a real Docker Engine, from its launch to its stop."""

from __future__ import annotations

from tests.bottles.docker.conftest import Shelf


def test_a_command_runs_in_a_container_and_its_output_and_exit_code_are_kept(shelf: Shelf) -> None:
    bottle = shelf.launch(["sh", "-c", "id -un; pwd; echo $HOME; ls -A; exit 3"])

    assert shelf.wait(bottle) == 3
    assert bottle.output(most=1000).decode().split() == ["agent", "/workspace", "/home/agent"]
    assert shelf.backend.slugs() == [bottle.slug]
    assert shelf.backend.find(bottle.slug).exit_code() == 3
    bottle.stop()
    bottle.stop()
    assert shelf.backend.slugs() == []
