"""Output without secrets, however it is written and however it arrives."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.redaction import Mask

AWKWARD = "s3cr/et+Täg=\"1'&\\x"
LONG = "".join(f"{n:04x}" for n in range(1, 200))
KEY = "-----BEGIN KEY-----\n" + "\n".join(f"MIIE{n:02}vQIBADANBgkq" for n in range(8)) + "\n-----END KEY-----\n"


def basic(value: str) -> str:
    return base64.b64encode(f"user:{value}".encode()).decode()


def by_shell(program: str, *, name: str = "bash", locale: str = "C") -> Callable[[str], str]:
    """What a shell's program prints of the variable X."""

    def encode(value: str) -> str:
        environ = {"X": value, "PATH": "/usr/bin:/bin", "LC_ALL": locale}
        done = subprocess.run([name, "-c", program], env=environ, check=True, capture_output=True, timeout=20)
        return done.stdout.decode(errors="surrogateescape")

    return encode


def each(form: str, unless: str = "") -> Callable[[str], str]:
    """Every character escaped, but for some."""
    return lambda value: "".join(one if one in unless else form.format(ord(one), one) for one in value)


LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SHELLS = {
    "printf %q": by_shell('printf %q "$X"'),
    "printf %q in UTF-8": by_shell('printf %q "$X"', locale="C.UTF-8"),
    "declare -p": by_shell("declare -p X"),
    "bash's export -p": by_shell("export -p"),
    "dash's export -p": by_shell("export -p", name="dash"),
    "quoted by bash": by_shell('echo "${X@Q}"'),
}
ENCODERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 URL-safe": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "base64 with a line end": lambda value: base64.b64encode(f"{value}\n".encode()).decode(),
    "basic authorization": basic,
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "URL": lambda value: quote(value, safe=""),
    "URL path": quote,
    "URL form": quote_plus,
    "json": json.dumps,
    "json UTF-8": lambda value: json.dumps(value, ensure_ascii=False),
    "json in json": lambda value: json.dumps(json.dumps(value)),
    "html": html.escape,
    "python": repr,
    "python ASCII": ascii,
    "python bytes": lambda value: repr(value.encode()),
    "shell": shlex.quote,
    "Go's json": lambda value: re.sub("[&<>]", lambda one: f"\\u{ord(one[0]):04x}", json.dumps(value)),
    "Gson's json": lambda value: re.sub("[&<>=']", lambda one: f"\\u{ord(one[0]):04x}", json.dumps(value)),
    ".NET's json": lambda value: re.sub(r"[^\w -]", lambda one: f"\\u{ord(one[0]):04X}", value, flags=re.ASCII),
    "json, every character": each("\\u{:04x}"),
    "json in json, every character": each("\\\\u{:04x}"),
    "html, decimal": each("&#{};", LETTERS),
    "html, hexadecimal": each("&#x{:x};"),
    "html in json": lambda value: json.dumps(html.escape(value).replace("/", "&#47;")),
    "a mixed URL": lambda value: "".join(
        "".join(f"%{byte:02{'xX'[place % 2]}}" for byte in one.encode()) if place % 3 else quote(one, safe="")
        for place, one in enumerate(value)
    ),
    "a URL in a URL": lambda value: quote(quote(value, safe=""), safe=""),
}


@pytest.mark.parametrize("name", [*ENCODERS, *SHELLS])
@pytest.mark.parametrize("value", [AWKWARD, LONG, "plain-token-0123456789", "~a'b$c`d!e\tf\ng{h}*i?j(k)l;m|n^o~"])
def test_a_secret_is_masked_as_common_encoders_write_it(name: str, value: str) -> None:
    written = (ENCODERS | SHELLS)[name](value)
    shown = Mask({"TOKEN": value}).text(f"before {written} after")
    assert shown.startswith("before ") and shown.endswith(" after") and "[secret TOKEN]" in shown
    rest = shown.removeprefix("before ").removesuffix(" after").replace("[secret TOKEN]", "")
    assert len(rest) <= 8 or name == "basic authorization" or name in SHELLS
    assert not any(rest[place : place + 6] in written[-6:] for place in range(len(rest) - 5))


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "user:", "x" * 77])
@pytest.mark.parametrize("after", ["", "z", "zy", "\n", "and more"])
def test_base64_of_something_longer_shows_at_most_the_edges(before: str, after: str) -> None:
    value = "ghp_0123456789abcdefghijklmnop"
    encoded = base64.b64encode(f"{before}{value}{after}".encode()).decode()
    shown = Mask({"TOKEN": value}).text(encoded)
    front, _, back = shown.partition("[secret TOKEN]")
    decoded = base64.b64decode(front + "A" * (-len(front) % 4))
    assert decoded.startswith(before.encode()) and len(decoded) <= len(before) + 3
    assert len(back) <= (len(after) + 2) * 4 // 3 + 4


def test_base64_is_masked_also_where_the_encoder_has_broken_it_into_lines() -> None:
    for value in (LONG, "ghp_0123456789abcdefghijklmnop"):
        for before in ("", "x" * 40, "y" * 50):
            encoded = base64.encodebytes(f"{before}{value}{before}".encode())
            shown = Mask({"TOKEN": value}).bytes(encoded)
            assert b"[secret TOKEN]" in shown
            assert len(shown.replace(b"[secret TOKEN]", b"")) < len(encoded) - len(value)


def test_each_line_of_a_secret_is_masked_but_not_the_frame_of_a_key() -> None:
    mask = Mask({"KEY": KEY})
    indented = "".join(f"  {line}\r\n" for line in KEY.splitlines())
    assert "MIIE" not in mask.text(indented)
    assert mask.text(KEY.splitlines()[3]) == "[secret KEY]"
    assert mask.text("-----BEGIN KEY-----\nother") == "-----BEGIN KEY-----\nother"
    assert mask.text(KEY) == "[secret KEY]\n"


def test_a_short_secret_is_masked_as_it_is_and_in_no_other_form() -> None:
    mask = Mask({"PIN": "4711"})
    assert mask.text("the pin is 4711.") == "the pin is [secret PIN]."
    assert mask.text("NDcxMQ==") == "NDcxMQ=="


def test_the_longest_of_several_secrets_counts() -> None:
    mask = Mask({"SHORT": "abcdef", "LONG": "abcdefghij"})
    assert mask.text("abcdefghij abcdef") == "[secret LONG] [secret SHORT]"


def test_without_secrets_nothing_is_masked() -> None:
    mask = Mask({})
    assert not mask and mask.bytes(b"x") == b"x" and mask.stream().feed(b"x") == b"x"


def test_text_that_is_no_text_survives() -> None:
    assert Mask({"A": "abcdef"}).text("\udcff abcdef \ud800") == "\udcff [secret A] \ud800"


def test_every_text_of_a_result_is_masked() -> None:
    found = Mask({"A": "abcdef"}).everything({"abcdef": [1, "x abcdef", None, {"y": True}]})
    assert found == {"[secret A]": [1, "x [secret A]", None, {"y": True}]}


def test_an_error_does_not_tell_a_secret() -> None:
    mask = Mask({"A": "abcdef"})
    with pytest.raises(InvalidRequest) as caught, mask.errors():
        raise InvalidRequest("no file abcdef", hint="try abcdef.txt")
    assert str(caught.value) == "no file [secret A]\ntry [secret A].txt"
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    with pytest.raises(Conflict, match="another"), mask.errors():
        raise Conflict("another")


def test_a_stream_keeps_back_only_what_may_begin_a_secret() -> None:
    stream = Mask({"TOKEN": "ghp_0123456789"}).stream()
    assert stream.feed(b"hello\n") == b"hello\n"
    assert stream.feed(b"see gh") == b"see "
    assert stream.feed(b"ost") == b"ghost"
    assert stream.feed(b"ghp_01234") == b""
    assert stream.feed(b"56789 ") == b"[secret TOKEN] "
    assert stream.feed(b"ghp_") == b""
    assert stream.finish() == b"ghp_"


def test_a_stream_does_not_keep_what_a_guest_never_ends() -> None:
    value = "ghp_0123456789abcdefghij"
    mask = Mask({"TOKEN": value})
    stream = mask.stream()
    passed = len(stream.feed(b"ghp_0123456789abc"))
    for _ in range(100):
        passed += len(stream.feed(b"\n" * 1000))
    assert passed > 99_000
    stream = Mask({"TOKEN": "a" * 20}).stream()
    shown = [stream.feed(b"a" * 1000) for _ in range(50)]
    assert b"a" not in b"".join(shown).replace(b"secret", b"") and b"".join(shown)


values = st.text(st.sampled_from("ab=\"/ +é\n'%\\&~u0"), min_size=1, max_size=24).filter(str.strip)
noise = st.binary(max_size=6) | st.sampled_from([b"a", b"ab", b"\n", b"\r\n", b"YW", b"%2"])


@settings(max_examples=400)
@given(secrets=st.lists(values, min_size=1, max_size=3, unique=True), data=st.data())
def test_however_output_is_split_it_is_masked_as_a_whole(secrets: list[str], data: st.DataObject) -> None:
    mask = Mask({f"S{place}": value for place, value in enumerate(secrets)})
    written = st.builds(
        lambda encode, value: encode(value).encode(), st.sampled_from(list(ENCODERS.values())), st.sampled_from(secrets)
    )
    output = b"".join(data.draw(st.lists(noise | written, max_size=8)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=8)))
    stream = mask.stream()
    pieces = [output[start:end] for start, end in zip([0, *cuts], [*cuts, len(output)], strict=True)]
    shown = b"".join([*map(stream.feed, pieces), stream.finish()])
    assert shown == mask.bytes(output)
    bare = shown
    for place in range(len(secrets)):
        bare = bare.replace(f"[secret S{place}]".encode(), b"\xff\xfe")
    for value in secrets:
        if len(value) > 1:
            assert value.encode() not in bare


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_other_bytes_are_untouched(output: bytes) -> None:
    mask = Mask({"A": "no-such-thing-in-there", "B": "x" * 100})
    stream = mask.stream()
    assert mask.bytes(output) == output
    assert (
        b"".join([*(stream.feed(output[place : place + 3]) for place in range(0, len(output), 3)), stream.finish()])
        == output
    )
