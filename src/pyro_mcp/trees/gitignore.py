"""Find the changes that git would ignore, by the `.gitignore` files of the tree.

Only the rules of the baseline apply to a path of the baseline, so that a guest cannot hide its change with a new rule.
The current rules apply to a new path: many programs put a `.gitignore` into the folders that they make.
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
_MAX_BYTES = 256 * 1024
_MAX_FOLDERS = 20_000
_MAX_RULES = 20_000
_MAX_PATH = 4096


def ignored_changes(tree: GuestTree, changes: Sequence[Change]) -> set[bytes]:
    """Return the paths of ignored changes; a folder only if a rule matches the folder itself."""
    old = {change.path: change.old.kind == "d" for change in changes if change.old is not None}
    new = {change.path: change.new.kind == "d" for change in changes if change.old is None and change.new is not None}
    return _ignored(tree, "baseline", old) | _ignored(tree, "merged", new)


def topmost(ignored: set[bytes]) -> list[bytes]:
    """Return the ignored paths that are not in an ignored folder, sorted."""
    return sorted(path for path in ignored if not any(folder in ignored for folder in folders_above(path)))


def _ignored(tree: GuestTree, view: View, paths: dict[bytes, bool]) -> set[bytes]:
    """Return the paths (with true for folders) that the rules of one view ignore."""
    queried = {path: is_folder for path, is_folder in paths.items() if len(path) < _MAX_PATH}
    if not queried:
        return set()
    rules = list(_rules(tree, view, [b".git/info/exclude", _NAME]))
    found = _matching(rules, queried)
    # The rules of the root match most paths. Other files are read only for the rest.
    rest = {path: is_folder for path, is_folder in queried.items() if path not in found}
    folders = sorted(
        {folder for path in rest for folder in folders_above(path)} - found, key=lambda one: one.count(b"/")
    )
    more = list(_rules(tree, view, [b"%b/%b" % (folder, _NAME) for folder in folders[:_MAX_FOLDERS]]))
    return found | _matching((rules + more)[:_MAX_RULES], rest) if more else found


def _rules(tree: GuestTree, view: View, files: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the rules of these files as rules of one file in the root; later rules override earlier ones, as in git."""
    contents = tree.contents(files, _MAX_BYTES, view=view, skip_missing=True) if files else {}
    for path in files:
        if path in contents and contents[path][0].kind == "f":
            folder = b"" if path.startswith(b".git/") else path[: -len(_NAME)].rstrip(b"/")
            for line in contents[path][1].removeprefix(b"\xef\xbb\xbf").split(b"\n"):
                yield from _from_root(folder, line)


def _from_root(folder: bytes, line: bytes) -> Iterable[bytes]:
    """Return `line` of the file in `folder` as a rule for the file in the root; nothing for an empty line."""
    if not folder or not line.strip() or line.startswith(b"#"):
        return [line] if line.strip() else []
    negated, rule = (b"!", line[1:]) if line.startswith(b"!") else (b"", line)
    literal = re.sub(rb"[\\*?\[]", rb"\\\g<0>", folder).replace(b"\n", b"?")
    bare = rule.rstrip(b" \r").removesuffix(b"/")
    anchored = rule.removeprefix(b"/") if b"/" in bare else b"**/" + rule
    return [b"%b/%b/%b" % (negated, literal, anchored)] if bare else []


def _matching(rules: Sequence[bytes], paths: dict[bytes, bool]) -> set[bytes]:
    """Return the paths that these rules ignore, according to git."""
    if not rules or not paths:
        return set()
    mark = secrets.token_hex(16).encode()  # git fails when no path is ignored
    # Without "./", git would read a path that begins with a colon as a pattern.
    words = [mark, *(b"./%b/" % path if is_folder else b"./" + path for path, is_folder in paths.items())]
    with bare_repository() as repository:
        repository.exclude([*rules, b"/" + mark])
        (repository.folder / "tree").mkdir()
        arguments = ("check-ignore", "--no-index", "-z", "--stdin")
        try:
            output = repository.git(*arguments, stdin=b"\0".join(words) + b"\0", work_tree=repository.folder / "tree")
        except (InvalidRequest, DeadlineExceeded):
            return set()  # a guest can write rules that take for ever; then no change is ignored
    return {path[2:].removesuffix(b"/") for path in output.split(b"\0")} & paths.keys()
