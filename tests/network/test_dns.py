"""DNS messages from strangers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.network.dns import dns_message

NAME = (b"www", b"example", b"com")


def answer(*records: bytes, identity: int = 7, flags: int = 0x8180, name: bytes = b"\3www\7example\3com\0") -> bytes:
    head = struct.pack("!6H", identity, flags, 1, len(records), 0, 0)
    return head + name + struct.pack("!HH", dns_message.MX, 1) + b"".join(records)


def record(kind: int, data: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def test_our_own_question_is_understood() -> None:
    question = dns_message.parse_question(dns_message.query(7, NAME, dns_message.TXT))

    assert (question.id, question.labels, question.type, question.extended) == (7, NAME, dns_message.TXT, True)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_question_or_malformed(data: bytes) -> None:
    try:
        question = dns_message.parse_question(data)
    except dns_message.Malformed:
        assert len(dns_message.malformed_reply(data) or b"") in (0, 12)
        return
    assert len(dns_message.reply(question, 3, reason="no")) <= 1232


@given(st.binary(max_size=200))
def test_any_bytes_after_a_proper_head_are_an_answer_or_malformed(tail: bytes) -> None:
    message = answer()[:6] + struct.pack("!H", 3) + answer()[8:] + tail
    try:
        _, records = dns_message.parse_answer(message, 7, NAME, dns_message.MX)
    except dns_message.Malformed:
        return
    assert all(one.type == dns_message.MX for one in records)


def test_names_in_an_answer_are_written_out_and_aliases_and_addresses_left_out() -> None:
    alias = record(5, b"\5inner\xc0\x10")
    message = answer(
        alias, record(dns_message.MX, b"\0\x05\4mail\xc0\x10", b"\5inner\xc0\x10"), record(dns_message.A, b"\x0a\0\0\1")
    )

    cut, records = dns_message.parse_answer(message, 7, NAME, dns_message.MX)

    assert not cut
    assert records == [dns_message.ResourceRecord(NAME, dns_message.MX, 60, b"\0\x05\4mail\7example\3com\0")]


@pytest.mark.parametrize(
    "message",
    [
        answer(identity=8),
        answer(flags=0x0180),
        answer(name=b"\3www\4evil\3com\0"),
        answer(record(dns_message.MX, b"\0\x05\xc0\x2f")),
        answer(record(dns_message.MX, b"\0\5\4mail\0")[:-3]),
        answer(record(dns_message.MX, b"\0\5")),
    ],
)
def test_an_answer_to_another_question_or_with_a_ring_in_it_is_malformed(message: bytes) -> None:
    with pytest.raises(dns_message.Malformed):
        dns_message.parse_answer(message, 7, NAME, dns_message.MX)


def test_a_reply_too_long_for_a_datagram_says_so_and_goes_by_stream() -> None:
    question = dns_message.parse_question(dns_message.query(7, NAME, dns_message.TXT))
    records = [dns_message.ResourceRecord(NAME, dns_message.TXT, 1, bytes([200]) + b"x" * 200)] * 8

    short, whole = dns_message.reply(question, 0, records), dns_message.reply(question, 0, records, udp=False)

    assert len(short) <= 1232 and short[2] & 2 and short[6:8] == b"\0\0"
    assert not whole[2] & 2 and whole[6:8] == b"\0\x08"


def test_why_there_is_no_answer_goes_along_for_who_can_read_it() -> None:
    plain = dns_message.query(7, NAME, dns_message.A)[:-11]
    plain = plain[:10] + b"\0\0" + plain[12:]

    assert b"not in the allow list" in dns_message.reply(
        dns_message.parse_question(dns_message.query(7, NAME, dns_message.A)), 3, reason="not in the allow list"
    )
    assert b"not" not in dns_message.reply(dns_message.parse_question(plain), 3, reason="not in the allow list")
