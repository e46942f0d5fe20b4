"""Ids are encoded as the published package encodes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moot.id_encoding import PREFIXES, decode_id, encode_id, new_id


@pytest.mark.parametrize(
    ("value", "text"), [(0, "usr_0"), (83419274652, "usr_2dp2t7cw"), (2**63 - 1, "usr_7zzzzzzzzzzzz")]
)
def test_a_number_has_one_external_form(value: int, text: str) -> None:
    assert encode_id(value, "usr") == text
    assert decode_id(text.upper().replace("USR", "usr"), "usr") == value


@given(st.integers(min_value=0, max_value=2**63 - 1), st.sampled_from(sorted(PREFIXES)))
def test_what_is_encoded_is_decoded_again(value: int, prefix: str) -> None:
    assert decode_id(encode_id(value, prefix), prefix) == value


@pytest.mark.parametrize("text", ["usr", "usr_", "agt_1", "usr_1i", "usr_1u", "usr_1-", ""])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="id"):
        decode_id(text, "usr")


@pytest.mark.parametrize(("value", "prefix"), [(-1, "usr"), (1, "xyz")])
def test_what_has_no_external_form_is_refused(value: int, prefix: str) -> None:
    with pytest.raises(ValueError, match=r"negative|prefix"):
        encode_id(value, prefix)


def test_new_ids_differ() -> None:
    assert len({new_id("evt") for _ in range(1000)}) == 1000
