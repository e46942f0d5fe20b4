"""Which changes git would ignore: those that the `.gitignore` files of the tree are about.

A path that the seed held is ignored by the seed's rules alone, so that no guest hides a change of it by a new rule. A
new path is ignored by the rules as they are now: tools put a `.gitignore` into the folders that they make.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence

from pyro_mcp.errors import DeadlineExceeded, InvalidRequest
from pyro_mcp.guest_protocol.tree_stream import Change
from pyro_mcp.trees.git import bare_repository
from pyro_mcp.trees.guest_tree import GuestTree, View, folders_above

_NAME = b".gitignore"
_LARGEST = 256 * 1024
_MOST_FOLDERS = 20_000
_MOST_RULES = 20_000
_LONGEST_PATH = 4096


def ignored_changes(tree: GuestTree, changes: Sequence[Change]) -> set[bytes]:
    """The paths of changes that are ignored; folders only where a rule is about them."""
    old = {change.path: change.old.kind == "d" for change in changes if change.old is not None}
    new = {change.path: change.new.kind == "d" for change in changes if change.old is None and change.new is not None}
    return _ignored(tree, "baseline", old) | _ignored(tree, "merged", new)


def topmost(ignored: set[bytes]) -> list[bytes]:
    """The ignored paths that are in no ignored folder, in order."""
    return sorted(path for path in ignored if not any(folder in ignored for folder in folders_above(path)))


def _ignored(tree: GuestTree, view: View, paths: dict[bytes, bool]) -> set[bytes]:
    """The ignored ones of paths (true for folders) by the rules of one view."""
    asked = {path: is_folder for path, is_folder in paths.items() if len(path) < _LONGEST_PATH}
    if not asked:
        return set()
    rules = list(_rules(tree, view, [b".git/info/exclude", _NAME]))
    found = _matching(rules, asked)
    # Most of what is ignored is so by the root's rules. Only where something is left other files are read.
    left = {path: is_folder for path, is_folder in asked.items() if path not in found}
    folders = sorted(
        {folder for path in left for folder in folders_above(path)} - found, key=lambda one: one.count(b"/")
    )
    more = list(_rules(tree, view, [b"%b/%b" % (folder, _NAME) for folder in folders[:_MOST_FOLDERS]]))
    return found | _matching((rules + more)[:_MOST_RULES], left) if more else found


def _rules(tree: GuestTree, view: View, files: Sequence[bytes]) -> Iterator[bytes]:
    """The rules of these files as rules of one file in the root; later ones outdo earlier ones, as git has it."""
    contents = tree.contents(files, _LARGEST, view=view, skip_missing=True) if files else {}
    for path in files:
        if path in contents and contents[path][0].kind == "f":
            folder = b"" if path.startswith(b".git/") else path[: -len(_NAME)].rstrip(b"/")
            for line in contents[path][1].removeprefix(b"\xef\xbb\xbf").split(b"\n"):
                yield from _from_root(folder, line)


def _from_root(folder: bytes, line: bytes) -> Iterable[bytes]:
    """The rule that says in the root's file what `line` says in that of `folder`."""
    if not folder or not line.strip() or line.startswith(b"#"):
        return [line] if line.strip() else []
    negated, rule = (b"!", line[1:]) if line.startswith(b"!") else (b"", line)
    literal = re.sub(rb"[\\*?\[]", rb"\\\g<0>", folder).replace(b"\n", b"?")
    bare = rule.rstrip(b" \r").removesuffix(b"/")
    anchored = rule.removeprefix(b"/") if b"/" in bare else b"**/" + rule
    return [b"%b/%b/%b" % (negated, literal, anchored)] if bare else []


def _matching(rules: Sequence[bytes], paths: dict[bytes, bool]) -> set[bytes]:
    """The paths that git finds ignored by rules of a root."""
    if not rules or not paths:
        return set()
    mark = secrets.token_hex(16).encode()  # git fails when nothing at all is ignored
    # Without the "./" a path that begins with a colon would be a pattern.
    words = [mark, *(b"./%b/" % path if is_folder else b"./" + path for path, is_folder in paths.items())]
    with bare_repository() as repository:
        repository.exclude([*rules, b"/" + mark])
        (repository.folder / "tree").mkdir()
        arguments = ("check-ignore", "--no-index", "-z", "--stdin")
        try:
            output = repository.git(*arguments, stdin=b"\0".join(words) + b"\0", work_tree=repository.folder / "tree")
        except (InvalidRequest, DeadlineExceeded):
            return set()  # a guest can write rules that take for ever; then everything is shown
    return {path[2:].removesuffix(b"/") for path in output.split(b"\0")} & paths.keys()
