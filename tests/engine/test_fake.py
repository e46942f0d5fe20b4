"""The fake engine behaves as tests of the layers above need it to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp.engine.fake import FakeEngine, outcome
from pyro_mcp.engine.interface import Command, Engine, Shape, StartRequest, System
from pyro_mcp.errors import GuestFailed, GuestGone, InvalidRequest
from pyro_mcp.host.process_identity import alive

SYSTEM = System(Path("/vmlinuz"), "sha256:1", (), Path("/root.erofs"), "sha256:2")


def request(name: str) -> StartRequest:
    return StartRequest(SYSTEM, Shape(), Path("/home-of", name), Path("/sockets-of", name), name, 60.0)


def test_it_is_an_engine() -> None:
    engine: Engine = FakeEngine()
    assert engine.execution_mode == "guest_virtio"


def test_no_process_of_the_host_has_the_identity_of_a_fake_machine() -> None:
    engine = FakeEngine()
    one, two = engine.start(request("one")).identity, engine.start(request("two")).identity
    assert one != two
    assert engine.alive(one)
    assert not alive(one)


def test_commands_are_answered_and_remembered() -> None:
    engine = FakeEngine(lambda command: outcome(len(command.argv), b"out", b"err"))
    engine.start(request("one"))
    out: list[bytes] = []
    with engine.connect(Path("/sockets-of/one")) as guest:
        answered = guest.run(Command(["a", "b"], output_cap=2, on_stdout=out.append))
        guest.flush()
    assert (answered.exit_code, answered.stdout, answered.stdout_bytes, out) == (2, b"ou", 3, [b"out"])
    assert [command.argv for command in engine.commands] == [["a", "b"]]


def test_it_refuses_what_a_guest_refuses() -> None:
    engine = FakeEngine()
    engine.start(request("one"))
    with engine.connect(Path("/sockets-of/one")) as guest, pytest.raises(InvalidRequest):
        guest.run(Command(["a\0b"]))
    assert engine.commands == []


def test_a_machine_that_was_ended_is_gone_and_ending_it_twice_is_a_no_op() -> None:
    engine = FakeEngine()
    identity = engine.start(request("one")).identity
    engine.power_off(identity, Path("/sockets-of/one"), lambda: None)
    engine.kill(identity, Path("/sockets-of/one"))
    assert (engine.alive(identity), engine.ended, engine.running) == (False, [Path("/sockets-of/one")], {})
    with pytest.raises(GuestGone), engine.connect(Path("/sockets-of/one")):
        pass


def test_a_machine_that_ends_during_a_conversation_is_gone() -> None:
    engine = FakeEngine()
    engine.start(request("one"))
    with engine.connect(Path("/sockets-of/one")) as guest:
        engine.running.clear()
        with pytest.raises(GuestGone):
            guest.run(Command(["true"]))


def test_it_fails_where_it_is_told_to_and_has_done_nothing_then() -> None:
    engine = FakeEngine()
    engine.failures["start"] = GuestFailed("told to")
    with pytest.raises(GuestFailed, match="told to"):
        engine.start(request("one"))
    assert (engine.started, engine.running) == ([], {})


def test_a_shape_is_warm_once_it_was_prepared_or_started() -> None:
    engine = FakeEngine()
    assert engine.template_state(SYSTEM, Shape(2)) == "cold"
    assert [engine.prepare(SYSTEM, Shape(2)).reused for _ in range(2)] == [False, True]
    engine.start(request("one"))
    assert [engine.template_state(SYSTEM, Shape(count)) for count in (1, 2, 3)] == ["warm", "warm", "cold"]
