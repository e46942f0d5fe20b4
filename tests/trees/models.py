"""Generated trees: a model is a dictionary from paths to what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hypothesis import strategies as st


@dataclass(frozen=True)
class Leaf:
    """A file with its content, or a link with its target; `mode` is a file's."""

    kind: Literal["f", "l"]
    data: bytes
    mode: int = 0o644


Model = dict[bytes, Leaf]

NAMES = st.sampled_from(
    [b"a", b"b", b"c d", b'"q"', b"new\nline", b"\xff\xfe", "✓".encode(), b"*[x]?", b"tab\t", b" s ", b"-x", b"\\",
     b"{}", b"a.txt", b".gitattributes", b".gitignore", b"\x01\x7f", b"dev", b"null", b"n" * 255]
)  # fmt: skip
_LINES = st.lists(
    st.sampled_from([b"one\n", b"two\n", b"three\n", b"crlf\r\n", b"\n", b"-- \n", b"+++ b/x\n"]), max_size=12
)
CONTENTS = st.one_of(
    _LINES.map(b"".join),
    st.sampled_from(
        [b"", b"no end", b"\r", b"* binary\n* -text\n", b"caf\xe9\n", b"nul\0\n", "✓ ok\n".encode(), b"x\n" * 500]
    ),
    st.binary(max_size=40),
)
LEAVES = st.one_of(
    st.builds(Leaf, st.just("f"), CONTENTS, st.sampled_from([0o644, 0o755, 0o600, 0o700])),
    st.builds(Leaf, st.just("l"), st.sampled_from([b"a", b"../b", b"/etc/passwd", b"new\nline", b"\xff", b"x" * 300])),
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)


def without_clashes(pairs: Mapping[bytes, Leaf]) -> Model:
    """The entries that can be in one tree: none lies below another."""
    model: Model = {}
    for path, leaf in pairs.items():
        if not any(clash(path, other) for other in model):
            model[path] = leaf
    return model


def clash(one: bytes, other: bytes) -> bool:
    """Whether one path lies below the other."""
    return one.startswith(other + b"/") or other.startswith(one + b"/")


MODELS = st.dictionaries(PATHS, LEAVES, max_size=8).map(without_clashes)


@st.composite
def versions(draw: st.DrawFn) -> tuple[Model, Model]:
    """A tree, and what may have become of it: files kept, edited, moved, deleted, added, of another mode or kind."""
    old = draw(MODELS)
    new: Model = {}
    for path, leaf in old.items():
        match draw(st.sampled_from(["keep", "keep", "edit", "mode", "replace", "move", "delete"])):
            case "edit" if leaf.kind == "f":
                new[path] = Leaf("f", leaf.data + draw(CONTENTS), leaf.mode)
            case "mode" if leaf.kind == "f":
                new[path] = Leaf("f", leaf.data, leaf.mode ^ 0o111)
            case "replace":
                new[path] = draw(LEAVES)
            case "move":
                new[draw(PATHS)] = leaf
            case "delete":
                pass
            case _:
                new[path] = leaf
    return old, without_clashes(new | draw(st.dictionaries(PATHS, LEAVES, max_size=3)))


def plant(folder: Path, model: Mapping[bytes, Leaf]) -> None:
    """Make the tree in an empty folder."""
    root = os.fsencode(folder)
    for path, leaf in model.items():
        where = os.path.join(root, path)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        if leaf.kind == "l":
            os.symlink(leaf.data, where)
        else:
            with open(where, "wb") as file:
                file.write(leaf.data)
            os.chmod(where, leaf.mode)


def harvest(folder: Path) -> Model:
    """The tree in a folder; folders count for what is in them."""
    root = os.fsencode(folder)
    model: Model = {}
    for above, folders, names in os.walk(root):
        for name in [*names, *(one for one in folders if os.path.islink(os.path.join(above, one)))]:
            where = os.path.join(above, name)
            path = os.path.relpath(where, root)
            if os.path.islink(where):
                model[path] = Leaf("l", os.readlink(where))
            else:
                with open(where, "rb") as file:
                    model[path] = Leaf("f", file.read(), os.fstat(file.fileno()).st_mode & 0o777)
    return model


def as_git_sees(model: Mapping[bytes, Leaf]) -> Model:
    """The tree with no other modes than git keeps."""
    return {path: Leaf(leaf.kind, leaf.data, 0o755 if leaf.mode & 0o100 else 0o644) for path, leaf in model.items()}
