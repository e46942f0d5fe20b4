"""pyro workspace file list | read | write, patch apply, diff, export, sync push"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyro_mcp
from pyro_mcp.cli.options import given, id_argument
from pyro_mcp.command_line import Verbs, print_json, progress_line, shown, size, table, verb
from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.results import WorkspaceFileList, WorkspaceFileRead

_ID = "ws-0123456789ab"
_EXPORT = (
    "Copy a file or folder to the host.\n\n"
    "From .git, only commits, refs, the HEAD log and safe settings are copied. The result lists what was left out, "
    "and changed files that tools run automatically (.envrc, .vscode, …)."
)


def add(inner: Verbs) -> None:
    _add_files(inner)
    patch = inner.add_parser("patch", help="apply a patch").add_subparsers(metavar="COMMAND", required=True)
    apply = verb(
        patch,
        "apply",
        "apply a unified diff, all of it or nothing",
        _apply,
        example=f"git diff | pyro workspace patch apply {_ID} --patch-file -",
    )
    id_argument(apply)
    given = apply.add_mutually_exclusive_group(required=True)
    given.add_argument("--patch", metavar="TEXT", help="the patch")
    given.add_argument("--patch-file", metavar="PATH", help="a file with the patch; - for standard input")
    diff = verb(inner, "diff", "show what changed since creation", _diff, example=f"pyro workspace diff {_ID} --stat")
    id_argument(diff)
    diff.add_argument(
        "--include-ignored", action="store_true", help="also show ignored files (default: only count them)"
    )
    diff.add_argument("--binary", action="store_true", help="include binary files in full, for 'git apply'")
    how = diff.add_mutually_exclusive_group()
    how.add_argument("--name-only", action="store_true", help="print only the paths")
    how.add_argument("--stat", action="store_true", help="print paths with their kind of change, and counts")
    export = verb(
        inner,
        "export",
        "copy a file or folder to the host",
        _export,
        example=f"pyro workspace export {_ID} src --output ./result",
    )
    id_argument(export)
    export.description = _EXPORT
    export.add_argument("path", metavar="PATH", help="in the workspace")
    export.add_argument("--output", required=True, metavar="HOST_PATH", help="destination; must not exist")
    export.add_argument("--overwrite", action="store_true", help="replace an existing destination")
    export.add_argument("--max-bytes", type=int, metavar="N", help="copy at most N bytes (default 16 GiB)")
    export.add_argument("--max-entries", type=int, metavar="N", help="copy at most N entries (default 1,000,000)")
    sync = inner.add_parser("sync", help="copy more files from the host into a running workspace").add_subparsers(
        metavar="COMMAND", required=True
    )
    push = verb(
        sync,
        "push",
        "copy a host file, folder or archive into a running workspace",
        _push,
        example=f"pyro workspace sync push {_ID} ./fixtures --dest tests/fixtures",
    )
    id_argument(push)
    push.add_argument("source_path", metavar="SOURCE_PATH", help="file, folder, .tar, .tar.gz or .tgz")
    push.add_argument(
        "--dest",
        default="/workspace",
        metavar="PATH",
        help="destination folder, or a file's new path (default /workspace)",
    )


def _add_files(inner: Verbs) -> None:
    files = inner.add_parser("file", help="list, read and write files").add_subparsers(metavar="COMMAND", required=True)
    listing = verb(files, "list", "list a file or folder", _list, example=f"pyro workspace file list {_ID} src")
    id_argument(listing)
    listing_options(listing)
    read = verb(files, "read", "print a text file", _read, example=f"pyro workspace file read {_ID} README.md")
    id_argument(read)
    reading_options(read)
    write = verb(
        files,
        "write",
        "create or replace a file",
        _write,
        example=f"pyro workspace file write {_ID} notes.txt --text hello",
    )
    id_argument(write)
    write.add_argument("path", metavar="PATH", help="in the workspace")
    given = write.add_mutually_exclusive_group(required=True)
    given.add_argument("--text", metavar="TEXT", help="the content")
    given.add_argument("--text-file", metavar="HOST_PATH", help="a host file with the content; - for standard input")


def listing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a file list."""
    parser.add_argument("path", nargs="?", default="/workspace", metavar="PATH", help="default /workspace")
    parser.add_argument("--recursive", action="store_true", help="include subfolders")


def reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of reading a file."""
    parser.add_argument("path", metavar="PATH", help="in the workspace")
    parser.add_argument("--offset", type=int, default=0, metavar="N", help="begin at this byte (default 0)")
    parser.add_argument(
        "--max-bytes", type=int, default=65536, metavar="N", help="read at most N bytes (default 65536)"
    )
    parser.add_argument("--base64", action="store_true", help="print base64; works for binary files too")


def _list(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().list_workspace_files(arguments.workspace_id, arguments.path, recursive=arguments.recursive)
    return show_listing(arguments, found)


def show_listing(arguments: argparse.Namespace, found: WorkspaceFileList) -> int:
    """Print what is at a path."""
    if arguments.json:
        print_json(found)
        return 0
    rows = [("TYPE", "SIZE", "PATH")]
    for entry in found["entries"]:
        target = f" -> {shown(entry['link_target'])}" if entry["link_target"] is not None else ""
        rows.append((entry["artifact_type"], size(entry["size_bytes"]), f"{shown(entry['path'])}{target}"))
    print(table(rows))
    return 0


def _read(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().read_workspace_file(
        arguments.workspace_id,
        arguments.path,
        offset=arguments.offset,
        max_bytes=arguments.max_bytes,
        binary=arguments.base64,
    )
    return show_content(arguments, found)


def show_content(arguments: argparse.Namespace, found: WorkspaceFileRead) -> int:
    """Print a file's content, and on stderr when there is more of it."""
    if arguments.json:
        print_json(found)
        return 0
    print(found["content"], end="" if found["encoding"] == "utf-8" else "\n")
    if found["truncated"]:
        print(
            f"pyro: bytes {found['offset']} to {found['next_offset']} of {found['size_bytes']}; "
            f"--offset {found['next_offset']} reads on",
            file=sys.stderr,
        )
    return 0


def _write(arguments: argparse.Namespace) -> int:
    content = _given(arguments.text, arguments.text_file)
    done = pyro_mcp.Pyro().write_workspace_file(arguments.workspace_id, arguments.path, text=_as_text(content))
    if arguments.json:
        print_json(done)
    else:
        print(f"{shown(done['path'])}: {done['bytes_written']} bytes")
    return 0


def _apply(arguments: argparse.Namespace) -> int:
    patch = _given(arguments.patch, arguments.patch_file)
    done = pyro_mcp.Pyro().apply_workspace_patch(arguments.workspace_id, patch=patch)
    if arguments.json:
        print_json(done)
        return 0
    if not done["entries"]:
        print("no changes")
    for entry in done["entries"]:
        print(f"{entry['status']:12} {shown(entry['path'])}")
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().diff_workspace(
        arguments.workspace_id, include_ignored=arguments.include_ignored, binary=arguments.binary
    )
    if arguments.json:
        print_json(found)
    elif arguments.name_only:
        for entry in found["entries"]:
            print(shown(entry["path"]))
    elif arguments.stat:
        for entry in found["entries"]:
            remark = " (binary, too large or special)" if entry["path"] in found["left_out"] else ""
            print(f"{entry['status']:12} {shown(entry['path'])}{remark}")
        counts = {name: count for name, count in found["summary"].items() if count}
        print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) or "no changes")
    else:
        sys.stdout.write(found["patch"])
        if found["left_out"]:
            names = ", ".join(map(shown, found["left_out"]))
            print(
                f"pyro: not in the patch (binary, too large or special): {names}; --binary adds binary files",
                file=sys.stderr,
            )
    if found["ignored_count"] and not arguments.json:
        names = ", ".join(shown(path) for path in found["ignored"])
        print(
            f"pyro: ignored by .gitignore, {found['ignored_count']} more (--include-ignored shows them): {names}",
            file=sys.stderr,
        )
    if found["git_changes"] and not arguments.json:
        print(f"pyro: and {found['git_changes']} changed in .git, which is not part of the diff", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        line(f"copying {arguments.path}", None)
        done = pyro_mcp.Pyro().export_workspace(
            arguments.workspace_id,
            arguments.path,
            output_path=arguments.output,
            overwrite=arguments.overwrite,
            **given(arguments, "max_bytes", "max_entries"),
        )
    if arguments.json:
        print_json(done)
        return 0
    print(f"{done['output_path']}: {done['entry_count']} entries, {size(done['bytes_written'])}")
    for skipped in done["skipped"]:
        print(f"pyro: left out {shown(skipped['path'])}: {shown(skipped['reason'])}", file=sys.stderr)
    if (more := done["skipped_count"] - len(done["skipped"])) > 0:
        print(f"pyro: left out {more} more", file=sys.stderr)
    for one in done["self_running"]:
        print(f"pyro: look before you open it: {one['tool']} runs {shown(one['path'])} by itself", file=sys.stderr)
    return 0


def _push(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        line(f"copying {arguments.source_path}", None)
        done = pyro_mcp.Pyro().push_workspace_sync(arguments.workspace_id, arguments.source_path, dest=arguments.dest)
    if arguments.json:
        print_json(done)
        return 0
    print(f"{done['destination']}: {done['entry_count']} entries, {size(done['bytes_written'])}")
    for path in done["overwritten"]:
        print(f"  replaced {shown(path)}")
    return 0


def _given(text: str | None, path: str | None) -> bytes:
    """Return content given as an option, in a file, or on standard input."""
    if text is not None:
        return text.encode(errors="surrogateescape")
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path or "").read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error


def _as_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            "that is not text in UTF-8", hint="'pyro workspace sync push' brings in files of any kind"
        ) from error
