"""pyro workspace disk list | read | export"""

from __future__ import annotations

import argparse

import pyro_mcp
from pyro_mcp.cli.options import id_argument
from pyro_mcp.cli.workspace_files import listing_options, reading_options, show_content, show_listing
from pyro_mcp.command_line import Verbs, print_json, progress_line, size, verb

_ID = "ws-0123456789ab"


def add(inner: Verbs) -> None:
    group = inner.add_parser("disk", help="look at a stopped workspace's disk").add_subparsers(
        metavar="COMMAND", required=True
    )
    listing = verb(group, "list", "list a file or folder", _list, example=f"pyro workspace disk list {_ID} /etc")
    read = verb(group, "read", "print a text file", _read, example=f"pyro workspace disk read {_ID} /etc/hosts")
    export = verb(
        group,
        "export",
        "copy the whole disk to the host, as a raw ext4 image",
        _export,
        example=f"pyro workspace disk export {_ID} --output disk.ext4",
    )
    for parser in (listing, read, export):
        id_argument(parser)
    listing_options(listing)
    reading_options(read)
    export.add_argument("--output", required=True, metavar="HOST_PATH", help="destination; must not exist")


def _list(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().list_workspace_disk(arguments.workspace_id, arguments.path, recursive=arguments.recursive)
    return show_listing(arguments, found)


def _read(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().read_workspace_disk(
        arguments.workspace_id,
        arguments.path,
        offset=arguments.offset,
        max_bytes=arguments.max_bytes,
        binary=arguments.base64,
    )
    return show_content(arguments, found)


def _export(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        done = pyro_mcp.Pyro(progress=line).export_workspace_disk(arguments.workspace_id, output_path=arguments.output)
    if arguments.json:
        print_json(done)
    else:
        print(f"{done['output_path']}: {done['disk_format']}, {size(done['allocated_bytes'])} on disk")
    return 0
