"""The host's parser of the tool's streams: whatever comes, it is understood or refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.errors import Conflict, GuestFailed, ProtocolViolation
from pyro_mcp.guest_protocol import tree_stream
from pyro_mcp.guest_protocol.frames import encode, encode_fields
from pyro_mcp.guest_protocol.tree_edits import Edit
from pyro_mcp.guest_protocol.tree_stream import Applied, Change, Changes, Tag, TreeEntry, Type, Walk, is_path
from pyro_mcp.trees.files import list_files, read_file, write_file
from pyro_mcp.trees.guest_tree import GuestTree
from tests.trees.answers import Recorded, end, entry, sent
from tests.trees.host_tree import HostTree


class Nothing:
    """A receiver that checks nothing but that paths are paths."""

    def entry(self, entry: TreeEntry) -> None:
        assert is_path(entry.path)

    def data(self, piece: bytes) -> None:
        assert piece

    def file_end(self) -> None:
        pass


FIELDS = st.lists(
    st.tuples(
        st.sampled_from(Tag), st.one_of(st.integers(0, 0o10000), st.integers(0, 2**64 - 1), st.binary(max_size=9))
    ),
    max_size=9,
)
FRAMES = st.one_of(
    st.builds(encode_fields, st.sampled_from(Type), FIELDS),
    st.builds(encode, st.integers(0, 255), st.binary(max_size=20)),
    st.sampled_from([entry(b"a", "f", size=3), entry(b"a", "l", target=b"x"), sent(b""), sent(b"abc"), end(1)]),
    st.binary(max_size=20),
)


@given(frames=st.lists(FRAMES, max_size=6), cut=st.integers(1, 50))
def test_any_bytes_are_parsed_or_refused(frames: list[bytes], cut: int) -> None:
    tree_stream = b"".join(frames)
    for parser in (Walk(Nothing(), 3), Changes(), Applied()):
        try:
            for at in range(0, len(tree_stream), cut):
                parser.feed(tree_stream[at : at + cut])
            parser.finish()
        except ProtocolViolation:
            continue


def change(path: bytes, *fields: tuple[int, bytes | int]) -> bytes:
    return encode_fields(Type.CHANGE, [(Tag.PATH, path), *fields])


def parsed(frames: list[bytes]) -> list[Change]:
    changes = Changes()
    for frame in frames:
        changes.feed(frame)
    changes.finish()
    return changes.found


NEW = ((Tag.NEW_KIND, ord("f")), (Tag.NEW_MODE, 0o644), (Tag.NEW_SIZE, 1))


@pytest.mark.parametrize(
    "frames",
    [
        [change(b"a"), end(1)],
        [change(b"", *NEW), end(1)],
        [change(b"b", *NEW), change(b"a", *NEW), end(2)],
        [change(b"a", *NEW), change(b"a", *NEW), end(2)],
        [change(b"a", *NEW[:2]), end(1)],
        [change(b"a", (Tag.NEW_KIND, ord("?")), *NEW[1:]), end(1)],
        [change(b"a", NEW[0], (Tag.NEW_MODE, 0o100644), NEW[2]), end(1)],
        [change(b"a", *NEW, *NEW), end(1)],
        [change(b"a", *NEW), end(2)],
        [change(b"a/../b", *NEW), end(1)],
        [change(b"a\0", *NEW), end(1)],
        [change(b"a" * 256, *NEW), end(1)],
        [entry(b"a", "f"), end(1)],
        [change(b"a", *NEW)],
    ],
)
def test_changes_that_cannot_be_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(ProtocolViolation):
        parsed(frames)


def test_a_folder_comes_before_its_content_and_after_it_what_sorts_later() -> None:
    changes = parsed([change(b"a", *NEW), change(b"a/b", *NEW), change(b"a-b", *NEW), end(3)])

    assert [one.path for one in changes] == [b"a", b"a/b", b"a-b"]


@pytest.mark.parametrize(
    "frames", [[end(0)], [entry(b"b", "f"), end(1)], [entry(b"a", "d"), entry(b"a/b/c", "f"), end(2)]]
)
def test_an_answer_to_something_else_is_refused(frames: list[bytes]) -> None:
    tree = GuestTree(Recorded(*frames))

    for act in (lambda: list_files(tree, "a", recursive=False), lambda: read_file(tree, "a", max_bytes=1)):
        with pytest.raises(ProtocolViolation):
            act()


@pytest.mark.parametrize("path", [None, b"b"])
def test_edits_that_are_not_answered_are_not_taken_for_made(path: bytes | None) -> None:
    answers = [encode_fields(Type.CHANGED, [(Tag.PATH, path)])] if path is not None else []

    with pytest.raises(ProtocolViolation, match="did not answer each edit"):
        write_file(GuestTree(Recorded(*answers, end(len(answers)))), "a", b"1")


def test_names_without_end_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_stream, "MOST_NAMED", 10_000)
    frames = [change(b"%04d" % number, *NEW) for number in range(100)]

    with pytest.raises(ProtocolViolation, match="more than fits"):
        parsed(frames)


def test_content_of_another_size_than_announced_applies_nothing(host: HostTree) -> None:
    for size in (1, 9):
        with pytest.raises(Conflict, match="changed while it was read"):
            host.tree.apply(
                [Edit(b"good", "f", size=1, content=[b"x"]), Edit(b"bad", "f", size=size, content=[b"four"])]
            )

    assert list(host.workspace.iterdir()) == []


def test_what_goes_wrong_in_making_the_edits_is_told_and_applies_nothing(host: HostTree) -> None:
    def edits() -> Iterator[Edit]:
        yield Edit(b"good", "f")
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        host.tree.apply(edits())

    assert list(host.workspace.iterdir()) == []


def test_a_refusal_in_the_middle_of_a_long_stream_does_not_hang(host: HostTree) -> None:
    many = (Edit(b"f%d" % number, "f", size=100_000, content=[b"x" * 100_000]) for number in range(200))

    with pytest.raises(GuestFailed):
        host.tree.apply([Edit(b"../out", "f"), *many])

    assert list(host.workspace.iterdir()) == []
