"""The host's conversation with an agent that has been taken over."""

from __future__ import annotations

import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.engine import guest_connection as guest_module
from pyro_mcp.engine.guest_connection import GuestConnection
from pyro_mcp.engine.interface import Command, Outcome
from pyro_mcp.errors import DeadlineExceeded, GuestFailed, GuestGone, InvalidRequest, ProtocolViolation
from pyro_mcp.guest_protocol.frames import INPUT_WINDOW, SYNC, Decoder, Frame, Tag, Type, encode, encode_fields

DEADLINE = 20.0
TRUE = Command(["true"], timeout_seconds=0.01)
EXIT = encode_fields(Type.EXIT, [(Tag.NUMBER, 0)])

fields = st.lists(st.tuples(st.sampled_from(Tag), st.binary(max_size=40) | st.integers(0, 2**64 - 1)), max_size=4)
answers = st.lists(
    st.binary(max_size=40)
    | st.builds(encode, st.sampled_from(Type), st.binary(max_size=40))
    | st.builds(encode_fields, st.sampled_from(Type), fields),
    max_size=10,
).map(b"".join)


class Peer:
    """The guest's end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.socket.settimeout(DEADLINE)
        self._decoder = Decoder()
        self._frames: list[Frame] = []

    def greet(self) -> None:
        """Take the preamble and answer it as a good agent does."""
        assert self.socket.recv(len(SYNC), socket.MSG_WAITALL) == SYNC
        nonce = self.receive().fields()[0][1]
        self.socket.sendall(SYNC + nonce + encode_fields(Type.WELCOME, [(Tag.VERSION, 1)]))

    def receive(self) -> Frame:
        while not self._frames:
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)


@contextmanager
def facing(behaviour: Callable[[Peer], None]) -> Iterator[GuestConnection]:
    """A connection whose other end is greeted and then does what `behaviour` says, and closes."""

    def live(end: socket.socket) -> None:
        with end:
            peer = Peer(end)
            peer.greet()
            behaviour(peer)

    ours, theirs = socket.socketpair()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(live, theirs)
        with ours:
            yield GuestConnection(ours)
        done.result(DEADLINE)


def saying(data: bytes) -> Callable[[Peer], None]:
    def behaviour(peer: Peer) -> None:
        peer.receive()
        peer.socket.sendall(data)

    return behaviour


def stay_silent(peer: Peer) -> None:
    with suppress(EOFError, ConnectionResetError):
        while True:
            peer.receive()


def talk_without_end(frame: bytes) -> Callable[[Peer], None]:
    def behaviour(peer: Peer) -> None:
        peer.receive()
        with suppress(BrokenPipeError, ConnectionResetError):
            while True:
                peer.socket.sendall(frame * 10)

    return behaviour


@given(answers)
def test_whatever_the_guest_answers_a_command_ends_in_an_outcome_or_one_of_our_errors(answer: bytes) -> None:
    started = time.monotonic()
    with facing(saying(answer)) as guest, suppress(ProtocolViolation, GuestGone, InvalidRequest):
        outcome = guest.run(Command(["cat"], stdin=b"input", timeout_seconds=1))
        assert 0 <= outcome.exit_code <= 255
    assert time.monotonic() - started < DEADLINE


@given(st.binary(max_size=100) | answers)
def test_whatever_the_guest_greets_with_is_a_welcome_or_one_of_our_errors(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        guest = GuestConnection(ours)
        theirs.sendall(answer + guest._decoder._preamble + answer)
        theirs.shutdown(socket.SHUT_WR)
        with suppress(GuestFailed):
            assert isinstance(guest.hello(deadline_seconds=5), str)


@given(answers)
def test_whatever_the_guest_answers_a_flush_is_done_or_one_of_our_errors(answer: bytes) -> None:
    with facing(saying(answer)) as guest, suppress(GuestFailed):
        guest.flush(deadline_seconds=5)
        assert encode(Type.OK)[4:5] in answer


def test_a_guest_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_module, "REPLY_GRACE_SECONDS", 0.1)
    with facing(stay_silent) as guest, pytest.raises(DeadlineExceeded):
        guest.run(TRUE)
    with facing(stay_silent) as guest, pytest.raises(DeadlineExceeded):
        guest.flush(deadline_seconds=0.1)
    with facing(stay_silent) as guest, pytest.raises(DeadlineExceeded):
        guest.run(Command(["cat"], stdin=bytes(10 * INPUT_WINDOW), timeout_seconds=0.01))


@pytest.mark.parametrize(
    "frame",
    [
        encode(Type.STDOUT, bytes(100_000)),
        encode(Type.STDERR),
        encode(Type.STARTED),
        encode_fields(Type.TAKEN, [(Tag.NUMBER, 0)]),
        encode(Type.WELCOME),
    ],
)
def test_a_guest_that_talks_without_end_is_given_up_and_costs_no_memory(
    monkeypatch: pytest.MonkeyPatch, frame: bytes
) -> None:
    monkeypatch.setattr(guest_module, "REPLY_GRACE_SECONDS", 0.3)
    tracemalloc.start()
    try:
        with facing(talk_without_end(frame)) as guest, pytest.raises(DeadlineExceeded):
            guest.run(Command(["cat"], stdin=b"x", timeout_seconds=0.01, output_cap=1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * 1024 * 1024


def test_a_guest_that_hangs_up_is_gone() -> None:
    with facing(hang_up) as guest, pytest.raises(GuestGone):
        guest.run(TRUE)
    with facing(saying(encode(Type.STARTED))) as guest, pytest.raises(GuestGone):
        guest.run(TRUE)


def test_a_guest_that_takes_more_input_than_it_was_given_is_caught() -> None:
    taken = encode_fields(Type.TAKEN, [(Tag.NUMBER, INPUT_WINDOW + 1)])

    def behaviour(peer: Peer) -> None:
        peer.socket.sendall(taken)
        stay_silent(peer)

    with facing(behaviour) as guest, pytest.raises(ProtocolViolation, match="more input"):
        guest.run(Command(["cat"], stdin=bytes(2 * INPUT_WINDOW)))


@pytest.mark.parametrize("type_", [Type.OK, Type.HELLO, Type.EXEC])
def test_a_frame_that_is_no_answer_is_a_violation(type_: Type) -> None:
    with facing(saying(encode(type_))) as guest, pytest.raises(ProtocolViolation, match=str(int(type_))):
        guest.run(TRUE)


def test_a_refusal_carries_the_guests_words_with_broken_text_replaced() -> None:
    refusal = encode_fields(Type.ERROR, [(Tag.NUMBER, 2), (Tag.TEXT, b"no \xff here")])
    with facing(saying(refusal)) as guest, pytest.raises(InvalidRequest, match="no � here"):
        guest.run(TRUE)
    with facing(saying(refusal)) as guest, pytest.raises(GuestFailed, match="no � here"):
        guest.flush()


def hang_up(_: Peer) -> None:
    """Say nothing more."""


def run_cat(behaviour: Callable[[Peer], None], data: bytes) -> Outcome:
    with facing(behaviour) as guest:
        return guest.run(Command(["cat"], stdin=data))


def test_never_more_input_is_under_way_than_the_window_holds() -> None:
    data = bytes(3 * INPUT_WINDOW + 7)
    received = 0

    def take_in_portions(peer: Peer) -> None:
        nonlocal received
        assert peer.receive().type == Type.EXEC
        untaken = 0
        while (frame := peer.receive()).payload:
            assert frame.type == Type.INPUT
            received += len(frame.payload)
            untaken += len(frame.payload)
            assert untaken <= INPUT_WINDOW
            if untaken == INPUT_WINDOW or received == len(data):
                peer.socket.sendall(encode_fields(Type.TAKEN, [(Tag.NUMBER, untaken)]))
                untaken = 0
        peer.socket.sendall(EXIT)

    assert run_cat(take_in_portions, data).exit_code == 0
    assert received == len(data)


@pytest.mark.parametrize("number", [256, 2**32, 2**64 - 1])
def test_an_exit_code_out_of_range_is_brought_into_it(number: int) -> None:
    ending = encode_fields(Type.EXIT, [(Tag.NUMBER, number)])
    with facing(saying(ending)) as guest:
        assert guest.run(TRUE).exit_code == number % 256
