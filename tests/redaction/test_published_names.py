"""The example in the documentation of `pyro_mcp.redaction` does what it says."""

from __future__ import annotations

from pyro_mcp.redaction import Mask


def test_the_documented_example_holds() -> None:
    mask = Mask({"TOKEN": "ghp_0123456789"})

    assert mask.text("the token is ghp_0123456789") == "the token is [secret TOKEN]"
    assert mask.everything({"output": ["ghp_0123456789"]}) == {"output": ["[secret TOKEN]"]}
    stream = mask.stream()
    assert stream.feed(b"ghp_01234") == b""
    assert stream.feed(b"56789 ok") + stream.finish() == b"[secret TOKEN] ok"
