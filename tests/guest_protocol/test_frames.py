"""The host's side of the wire: what we write is read back, and what a hostile guest writes does no harm."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.errors import ProtocolViolation
from pyro_mcp.guest_protocol.frames import MAX_PAYLOAD, SYNC, Decoder, Frame, Tag, Type, encode, encode_fields

NONCE = bytes(range(16))
# A header, the largest payload and all but the end mark, which comes with one more byte.
LARGEST_WAIT = 5 + MAX_PAYLOAD

types = st.sampled_from(Type)
tags = st.sampled_from(Tag)
numbers = st.integers(0, 2**64 - 1)
frames = st.lists(st.tuples(types, st.binary(max_size=300)), max_size=8)
field_lists = st.lists(st.tuples(tags, st.binary(max_size=100)), max_size=8)
# Random bytes alone rarely get past a header: so pieces of real conversations among them.
pieces = st.lists(
    st.binary(max_size=64)
    | st.builds(encode, types, st.binary(max_size=64))
    | st.sampled_from([SYNC, SYNC + NONCE, b"\xa7", bytes(5), b"\0\0\x10\0\x44"]),
    max_size=30,
)


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """`data` in pieces that end at the places `at`."""
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(frames, st.lists(st.integers(0, 10_000), max_size=8))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    sent: list[tuple[Type, bytes]], at: list[int]
) -> None:
    decoder = Decoder()
    stream = b"".join(encode(type_, payload) for type_, payload in sent)
    received = [frame for piece in cut(stream, at) for frame in decoder.feed(piece)]
    assert [(frame.type, frame.payload) for frame in received] == sent


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=8))
def test_whatever_came_before_the_preamble_is_thrown_away(junk: bytes, at: list[int]) -> None:
    decoder = Decoder(NONCE)
    stream = junk + SYNC + NONCE + encode(Type.OK)
    received = [frame for piece in cut(stream, at) for frame in decoder.feed(piece)]
    assert received == [Frame(Type.OK, b"")]


def test_the_preamble_of_another_client_is_not_ours() -> None:
    decoder = Decoder(NONCE)
    assert list(decoder.feed(SYNC + bytes(16) + encode(Type.OK))) == []


@given(field_lists)
def test_fields_come_out_as_they_went_in(sent: list[tuple[Tag, bytes]]) -> None:
    (frame,) = Decoder().feed(encode_fields(Type.EXEC, sent))
    assert frame.fields() == sent


@given(tags, numbers)
def test_a_number_comes_out_as_it_went_in(tag: Tag, number: int) -> None:
    (frame,) = Decoder().feed(encode_fields(Type.EXIT, [(tag, number)]))
    assert frame.number(tag) == number


@given(st.text())
def test_text_comes_out_as_it_went_in(text: str) -> None:
    (frame,) = Decoder().feed(encode_fields(Type.ERROR, [(Tag.TEXT, text.encode())]))
    assert frame.text(Tag.TEXT) == text


def test_absent_fields_have_defaults_and_the_first_of_two_counts() -> None:
    (frame,) = Decoder().feed(encode_fields(Type.EXIT, [(Tag.NUMBER, 1), (Tag.NUMBER, 2)]))
    assert (frame.number(Tag.NUMBER), frame.number(Tag.SIGNALLED, 7), frame.text(Tag.TEXT)) == (1, 7, "")


@given(st.integers(0, 255), st.binary(max_size=200) | field_lists.map(lambda fields: encode_fields(Type.OK, fields)))
def test_a_payload_is_read_or_refused_but_never_anything_else(type_: int, payload: bytes) -> None:
    frame = Frame(type_, payload)
    for tag in Tag:
        with suppress(ProtocolViolation):
            assert 0 <= frame.number(tag) < 2**64
        with suppress(ProtocolViolation):
            assert frame.text(tag).encode(errors="strict") is not None
    with suppress(ProtocolViolation):
        assert sum(5 + len(data) for _, data in frame.fields()) == len(payload)


@pytest.mark.parametrize("payload", [b"\x0e", b"\x0e\1\0\0", b"\x0e\1\0\0\0", b"\x0e\xff\xff\xff\xff" + bytes(50)])
def test_a_broken_field_list_is_a_violation(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        Frame(Type.EXIT, payload).number(Tag.NUMBER)


@given(st.none() | st.just(NONCE), pieces)
def test_arbitrary_bytes_are_frames_or_a_violation_and_little_of_them_is_held(
    nonce: bytes | None, stream: list[bytes]
) -> None:
    decoder = Decoder(nonce)
    fed = got = 0
    with suppress(ProtocolViolation):
        for piece in stream:
            fed += len(piece)
            got += sum(len(encode(Type.OK)) + len(frame.payload) for frame in decoder.feed(piece))
            assert decoder.held_bytes <= min(fed - got, LARGEST_WAIT)


def test_an_announced_frame_over_the_limit_is_refused_at_its_header() -> None:
    decoder = Decoder()
    with pytest.raises(ProtocolViolation, match=str(MAX_PAYLOAD + 1)):
        list(decoder.feed((MAX_PAYLOAD + 1).to_bytes(4, "little") + b"\x44"))


def test_a_wrong_end_mark_is_a_violation_after_the_frames_before_it() -> None:
    frames = Decoder().feed(encode(Type.OK) + encode(Type.STDOUT, b"x")[:-1] + b"\0")
    assert next(frames).type == Type.OK
    with pytest.raises(ProtocolViolation):
        next(frames)


@pytest.mark.parametrize("nonce", [None, NONCE])
def test_an_endless_stream_costs_no_more_memory_than_one_frame(nonce: bytes | None) -> None:
    decoder = Decoder(nonce)
    piece = encode(Type.STDOUT, bytes(MAX_PAYLOAD)) * 2
    cut_short = piece[:-1]  # what is held at most: a whole frame but for its last byte
    tracemalloc.start()
    try:
        for _ in range(10):
            for frame in decoder.feed(cut_short):
                assert len(frame.payload) <= MAX_PAYLOAD
            list(decoder.feed(piece[-1:]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What was fed, a copy of it in the decoder (which a growing bytearray over-allocates), and one frame.
    assert peak < 2 * len(piece) + 2 * MAX_PAYLOAD
    assert decoder.held_bytes <= LARGEST_WAIT


def test_a_payload_over_the_limit_cannot_be_encoded() -> None:
    assert len(encode(Type.INPUT, bytes(MAX_PAYLOAD))) == MAX_PAYLOAD + 6
    with pytest.raises(ValueError, match="at most"):
        encode(Type.INPUT, bytes(MAX_PAYLOAD + 1))
