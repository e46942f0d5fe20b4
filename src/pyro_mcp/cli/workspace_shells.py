"""pyro workspace shell open | list | read | write | signal | resize | attach | close"""

from __future__ import annotations

import argparse
import sys

import pyro_mcp
from pyro_mcp.cli.options import id_argument
from pyro_mcp.cli.secret_options import given_secret_env, secret_env_option
from pyro_mcp.command_line import Verbs, ago, print_json, table, verb
from pyro_mcp.results import ShellInfo
from pyro_mcp.terminal import DETACH_KEY, own_terminal

_ID, _SHELL = "ws-0123456789ab", "shell-0123456789ab"


def add(inner: Verbs) -> None:
    group = inner.add_parser("shell", help="interactive shells that keep running between calls").add_subparsers(
        metavar="COMMAND", required=True
    )
    _add_open(group)
    listing = verb(group, "list", "list the open shells", _list, example=f"pyro workspace shell list {_ID}")
    id_argument(listing)
    _add_read(group)
    _add_write(group)
    signal = verb(
        group,
        "signal",
        "send a signal to the program in the foreground",
        _signal,
        example=f"pyro workspace shell signal {_ID} {_SHELL} INT",
    )
    _shell_arguments(signal)
    signal.add_argument("signal_name", nargs="?", default="INT", metavar="SIGNAL", help="default INT, as Ctrl-C")
    resize = verb(
        group,
        "resize",
        "resize a shell's terminal",
        _resize,
        example=f"pyro workspace shell resize {_ID} {_SHELL} 100 40",
    )
    _shell_arguments(resize)
    resize.add_argument("cols", type=int, metavar="COLS", help="columns")
    resize.add_argument("rows", type=int, metavar="ROWS", help="rows")
    attach = verb(
        group,
        "attach",
        "attach your terminal to a shell; Ctrl-] detaches",
        _attach,
        example=f"pyro workspace shell attach {_ID} {_SHELL}",
    )
    _shell_arguments(attach)
    close = verb(
        group,
        "close",
        "end a shell and everything started in it",
        _close,
        example=f"pyro workspace shell close {_ID} {_SHELL}",
    )
    _shell_arguments(close)


def _shell_arguments(parser: argparse.ArgumentParser) -> None:
    id_argument(parser)
    parser.add_argument("shell_id", metavar="SHELL_ID", help="as 'pyro workspace shell list' shows it")


def _add_open(group: Verbs) -> None:
    parser = verb(
        group,
        "open",
        "start a shell, or another program on a terminal",
        _open,
        example=f"pyro workspace shell open {_ID}",
    )
    parser.usage = "pyro workspace shell open [options] WORKSPACE_ID [-- COMMAND [ARG ...]]"
    id_argument(parser)
    parser.add_argument("--cwd", default="/workspace", metavar="PATH", help="working directory (default /workspace)")
    parser.add_argument("--cols", type=int, default=120, metavar="N", help="columns of its terminal (default 120)")
    parser.add_argument("--rows", type=int, default=30, metavar="N", help="rows of its terminal (default 30)")
    secret_env_option(parser)
    parser.add_argument("--id-only", action="store_true", help="print only the new shell's id")


def _add_read(group: Verbs) -> None:
    parser = verb(
        group,
        "read",
        "show a shell's output",
        _read,
        example=f"pyro workspace shell read {_ID} {_SHELL} \\\n    --plain --wait-for-idle-ms 300",
    )
    _shell_arguments(parser)
    parser.add_argument("--cursor", type=int, default=0, metavar="N", help="first byte to show (default 0)")
    parser.add_argument(
        "--max-chars", type=int, default=65536, metavar="N", help="show at most N characters (default 65536)"
    )
    parser.add_argument("--plain", action="store_true", help="render the screen as text, without escape sequences")
    parser.add_argument(
        "--wait-for-idle-ms", type=int, metavar="MS", help="first wait until no output came for MS, at most 30 s"
    )


def _add_write(group: Verbs) -> None:
    parser = verb(
        group,
        "write",
        "type into a shell",
        _write,
        example=f"pyro workspace shell write {_ID} {_SHELL} --input 'ls -l'",
    )
    _shell_arguments(parser)
    parser.add_argument("--input", required=True, metavar="TEXT", help="the text to type; - reads standard input")
    parser.add_argument("--no-newline", action="store_true", help="do not press Enter at the end")


def _open(arguments: argparse.Namespace) -> int:
    opened = pyro_mcp.Pyro().open_shell(
        arguments.workspace_id,
        command=arguments.command,
        cwd=arguments.cwd,
        cols=arguments.cols,
        rows=arguments.rows,
        secret_env=given_secret_env(arguments),
    )
    if arguments.id_only:
        print(opened["shell_id"])
        return 0
    return _show(arguments, opened)


def _list(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().list_shells(arguments.workspace_id)
    if arguments.json:
        print_json(found)
        return 0
    if not found["shells"]:
        print(f"no shells; 'pyro workspace shell open {arguments.workspace_id}' starts one")
        return 0
    rows = [("ID", "STATE", "SIZE", "STARTED")]
    rows += [
        (one["shell_id"], _state(one), f"{one['cols']}x{one['rows']}", ago(one["started_at"]))
        for one in found["shells"]
    ]
    print(table(rows))
    return 0


def _read(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().read_shell(
        arguments.workspace_id,
        arguments.shell_id,
        cursor=arguments.cursor,
        max_chars=arguments.max_chars,
        plain=arguments.plain,
        wait_for_idle_ms=arguments.wait_for_idle_ms,
    )
    if arguments.json:
        print_json(found)
        return 0
    if found["dropped_bytes"]:
        print(f"({found['dropped_bytes']} bytes before this are not kept any more)", file=sys.stderr)
    print(found["output"], end="\n" if arguments.plain and found["output"] else "")
    print(f"(go on with --cursor {found['next_cursor']})", file=sys.stderr)
    return 0


def _write(arguments: argparse.Namespace) -> int:
    text = sys.stdin.read() if arguments.input == "-" else arguments.input
    done = pyro_mcp.Pyro().write_shell(
        arguments.workspace_id, arguments.shell_id, input=text, append_newline=not arguments.no_newline
    )
    if arguments.json:
        print_json(done)
    return 0


def _signal(arguments: argparse.Namespace) -> int:
    done = pyro_mcp.Pyro().signal_shell(arguments.workspace_id, arguments.shell_id, signal_name=arguments.signal_name)
    if arguments.json:
        print_json(done)
    return 0


def _resize(arguments: argparse.Namespace) -> int:
    done = pyro_mcp.Pyro().resize_shell(
        arguments.workspace_id, arguments.shell_id, cols=arguments.cols, rows=arguments.rows
    )
    return _show(arguments, done)


def _attach(arguments: argparse.Namespace) -> int:
    pyro, workspace_id, shell_id = pyro_mcp.Pyro(), arguments.workspace_id, arguments.shell_id

    def resize(columns: int, rows: int) -> None:
        pyro.resize_shell(workspace_id, shell_id, cols=columns, rows=rows)

    notice, instead = f"{DETACH_KEY} leaves the shell running", "without one, use 'shell write' and 'shell read'"
    with own_terminal(resize, notice=notice, instead=instead) as own:
        ended = pyro.attach_shell(workspace_id, shell_id, stdin=own.keys, on_output=own.show, interrupt=own.left)
    if arguments.json:
        print_json(ended)
    elif ended["state"] == "running":
        print(f"{ended['shell_id']} keeps running; 'pyro workspace shell close' ends it", file=sys.stderr)
    else:
        print(f"{ended['shell_id']} ended with {ended['exit_code']}", file=sys.stderr)
    return 0


def _close(arguments: argparse.Namespace) -> int:
    done = pyro_mcp.Pyro().close_shell(arguments.workspace_id, arguments.shell_id)
    if arguments.json:
        print_json(done)
    else:
        print(f"{done['shell_id']} is closed")
    return 0


def _show(arguments: argparse.Namespace, info: ShellInfo) -> int:
    if arguments.json:
        print_json(info)
    else:
        print(f"{info['shell_id']}  {_state(info)}  {info['cols']}x{info['rows']}")
    return 0


def _state(info: ShellInfo) -> str:
    return info["state"] if info["exit_code"] is None else f"exited with {info['exit_code']}"
