"""The agent under pressure: what it may hold, what it must let go of, and what no input may do to it."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mcp.guest_protocol.frames import RESYNC, SYNC, VERSION, Tag, Type, encode_fields
from tests.guest.conftest import Agent, running, wait_until_gone


def test_fifty_megabytes_to_a_slow_reader_do_not_pile_up_in_the_agent(shipped: Path) -> None:
    size = 50_000_000
    with running(shipped, 2) as agent:
        slow, quick = agent.connections
        assert slow.greet().type == Type.WELCOME
        assert quick.greet().type == Type.WELCOME
        slow.start("head", "-c", str(size), "/dev/zero")
        for _ in range(200):  # time for the agent to take far more than it may
            assert quick.run("true").code == 0
        received = 0
        while (frame := slow.receive(size=16 * 1024)).type == Type.STDOUT:
            received += len(frame.payload)
        assert (frame.type, received) == (Type.EXIT, size)
        assert agent.peak_memory_kib < 8 * 1024


def test_a_client_that_reads_no_answers_is_cut_off_and_can_return(agent: Agent) -> None:
    guest = agent.connections[0]
    for _ in range(40):
        guest.send((struct.pack("<IB", 0, 200) + b"\xa7") * 2000)
    assert guest.greet().type == Type.WELCOME
    assert guest.run("true").code == 0


def test_three_hundred_commands_leave_no_zombie_and_no_descriptor(agent: Agent) -> None:
    guest = agent.connections[0]
    assert guest.run("true").code == 0
    before = agent.descriptors
    for number in range(100):
        assert guest.run("sh", "-c", "echo a; (true &)", stdin=b"x").code == 0
        assert guest.run(f"missing-{number}").code == 127
        assert guest.run("true", cwd="/missing").last.type == Type.ERROR
    for _ in range(1000):
        if (agent.descriptors, agent.children) == (before, ""):
            return
        assert guest.run("true").code == 0
    raise AssertionError(f"{agent.descriptors} descriptors instead of {before}; children: {agent.children!r}")


def test_an_orphan_of_a_command_is_reaped(agent: Agent) -> None:
    guest = agent.connections[0]
    orphan = int(guest.run("sh", "-c", "sleep 1000 >&- 2>&- & echo $!").stdout)
    os.kill(orphan, signal.SIGKILL)
    wait_until_gone(orphan)
    for _ in range(1000):
        if not agent.children:
            return
        assert guest.run("true").code == 0
    raise AssertionError(f"not reaped: {agent.children}")


HELLO = encode_fields(Type.HELLO, [(Tag.NONCE, bytes(16)), (Tag.VERSION, VERSION)])


def a_field(tag: int, data: bytes) -> bytes:
    if tag == Tag.ARG:
        data = b"missing/" + data  # whatever else it is, it is not a program of this host
    return struct.pack("<BI", tag, len(data)) + data


def a_frame(type_: int, fields: list[bytes]) -> bytes:
    payload = b"".join(fields)
    return struct.pack("<IB", len(payload), type_) + payload + b"\xa7"


FIELDS = st.builds(a_field, st.integers(0, 20), st.binary(max_size=40) | st.just(bytes(8)))
FRAMES = st.builds(a_frame, st.integers(0, 9), st.lists(FIELDS, max_size=6))
PIECES = st.binary(max_size=60) | FRAMES | st.sampled_from([SYNC, HELLO, SYNC + HELLO, RESYNC])


@settings(max_examples=150)
@given(st.lists(PIECES, max_size=12))
def test_no_bytes_bring_the_agent_down(agent: Agent, pieces: list[bytes]) -> None:
    guest = agent.connections[0]
    for piece in pieces:
        guest.send(piece)
    guest.send(RESYNC)
    assert guest.greet().type == Type.WELCOME
    assert guest.run("true").code == 0
