"""pyro workspace create | list | status | update | delete | stop | start | reset | fork | exec | logs | summary"""

from __future__ import annotations

import argparse

import pyro_mcp
from pyro_mcp.cli import (
    workspace_disk,
    workspace_files,
    workspace_network,
    workspace_recovery,
    workspace_services,
    workspace_shells,
    workspace_snapshots,
)
from pyro_mcp.cli.options import (
    accelerator_option,
    allow_host_option,
    allow_list,
    host_compat_option,
    host_settings_options,
    id_argument,
    labels,
    machine_options,
    request_options,
    timeout_option,
)
from pyro_mcp.cli.secret_options import given_secret_env, given_secrets, secret_env_option, secret_options
from pyro_mcp.cli.stream import OWN_FAILURE, finish, streams
from pyro_mcp.cli.workspace_shown import show_new, show_workspace
from pyro_mcp.command_line import Verbs, ago, print_json, progress_line, shown, table, verb
from pyro_mcp.errors import PyroError

_STORY = """\
the loop:
  id=$(pyro workspace create debian:12 --seed-path . --id-only)
  pyro workspace exec $id -- python3 -m unittest
  pyro workspace diff $id          what changed since it was created
  pyro workspace reset $id         as it was, in a fraction of a second
  pyro workspace export $id src --output ./result
  pyro workspace delete $id
"""


def add(verbs: Verbs) -> None:
    group = verbs.add_parser(
        "workspace",
        help="workspaces that last: create, use, diff, reset, export, delete",
        epilog=_STORY,
    )
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_create(inner)
    verb(inner, "list", "list the workspaces, most recently active first", _list, example="pyro workspace list")
    for name, purpose, act in (
        ("status", "show one workspace", _status),
        ("start", "start a stopped workspace as it was", _start),
        ("logs", "show the command history", _logs),
        ("summary", "count the commands, edits, changes and exports since creation or reset", _summary),
    ):
        id_argument(verb(inner, name, purpose, act, example=f"pyro workspace {name} ws-0123456789ab"))
    _add_delete(inner)
    _add_update(inner)
    _add_stop(inner)
    _add_reset(inner)
    _add_fork(inner)
    _add_exec(inner)
    workspace_files.add(inner)
    workspace_snapshots.add(inner)
    workspace_disk.add(inner)
    workspace_shells.add(inner)
    workspace_services.add(inner)
    workspace_network.add(inner)
    workspace_recovery.add(inner)


def _add_create(inner: Verbs) -> None:
    parser = verb(
        inner, "create", "make and start a workspace", _create, example="pyro workspace create debian:12 --seed-path ."
    )
    parser.add_argument("environment", metavar="ENVIRONMENT", help="for example debian:12; see 'pyro env list'")
    parser.add_argument("--seed-path", metavar="PATH", help="folder, .tar, .tar.gz or .tgz to copy into /workspace")
    parser.add_argument("--no-ignored", action="store_true", help="leave out files that .gitignore ignores")
    parser.add_argument(
        "--seed-owner",
        type=int,
        default=0,
        metavar="UID",
        help="number of the guest's user who owns all of /workspace (default 0, root)",
    )
    _add_names(parser)
    machine_options(parser, ttl_seconds=24 * 3600, ending="stopped")
    parser.add_argument(
        "--network-policy",
        default="off",
        metavar="POLICY",
        help="off (default), egress (public addresses), or egress+published-ports (services on 127.0.0.1 too)",
    )
    allow_host_option(parser, "with egress: the only hosts that the workspace may reach")
    request_options(parser)
    host_settings_options(parser)
    secret_options(parser)
    host_compat_option(parser)
    accelerator_option(parser, "what runs the machine, at later starts and in forks too")
    parser.add_argument("--id-only", action="store_true", help="print only the new workspace's id")


def _add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="NAME", help="a name; need not be unique")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="a label; may be repeated")


def _add_delete(inner: Verbs) -> None:
    parser = verb(
        inner,
        "delete",
        "end workspaces and delete all their data",
        _delete,
        example="pyro workspace delete ws-0123456789ab ws-ba9876543210",
    )
    id_argument(parser, nargs="+")


def _add_update(inner: Verbs) -> None:
    parser = verb(
        inner,
        "update",
        "change name, labels and lifetime",
        _update,
        example="pyro workspace update ws-0123456789ab --name fix",
    )
    id_argument(parser)
    _add_names(parser)
    parser.add_argument("--clear-name", action="store_true", help="remove the name")
    parser.add_argument("--clear-label", action="append", default=[], metavar="KEY", help="remove a label")
    parser.add_argument("--ttl-seconds", type=float, metavar="S", help="stop the workspace S seconds from now")


def _add_stop(inner: Verbs) -> None:
    parser = verb(
        inner,
        "stop",
        "flush and power off; files, packages, snapshots and history stay",
        _stop,
        example="pyro workspace stop ws-0123456789ab",
    )
    id_argument(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="stop even if the guest does not respond; what commands wrote in the last seconds may be lost",
    )


def _add_reset(inner: Verbs) -> None:
    parser = verb(
        inner,
        "reset",
        "go back to the beginning or a snapshot; the command history is cleared",
        _reset,
        example="pyro workspace reset ws-0123456789ab",
    )
    id_argument(parser)
    parser.add_argument("--snapshot", default="baseline", metavar="NAME", help="default: baseline, as it was created")


def _add_fork(inner: Verbs) -> None:
    parser = verb(
        inner,
        "fork",
        "make a second workspace from the current state of one",
        _fork,
        example="pyro workspace fork ws-0123456789ab --name try-two",
    )
    id_argument(parser)
    _add_names(parser)
    parser.add_argument(
        "--ttl-seconds",
        type=float,
        default=24 * 3600,
        metavar="S",
        help="stop the new workspace after S seconds (default 86400, a day)",
    )
    parser.add_argument("--id-only", action="store_true", help="print only the new workspace's id")


def _add_exec(inner: Verbs) -> None:
    parser = verb(
        inner, "exec", "run a command in a workspace", _exec, example="pyro workspace exec ws-0123456789ab -- make test"
    )
    parser.usage = "pyro workspace exec [options] WORKSPACE_ID -- COMMAND [ARG ...]"
    id_argument(parser)
    parser.add_argument("--cwd", default="/workspace", metavar="PATH", help="working directory (default /workspace)")
    timeout_option(parser)
    secret_env_option(parser)
    parser.set_defaults(own_failure=OWN_FAILURE)


def _create(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        pyro = pyro_mcp.Pyro(progress=line)
        made = pyro.create_workspace(
            arguments.environment,
            seed_path=arguments.seed_path,
            no_ignored=arguments.no_ignored,
            seed_owner=arguments.seed_owner,
            name=arguments.name,
            labels=labels(arguments.label),
            vcpu_count=arguments.vcpu_count,
            mem_mib=arguments.mem_mib,
            ttl_seconds=arguments.ttl_seconds,
            network_policy=arguments.network_policy,
            allow_hosts=allow_list(arguments),
            trust_host_ca=arguments.trust_host_ca,
            host_mirrors=arguments.host_mirrors,
            allow_host_compat=arguments.allow_host_compat,
            accelerator=arguments.accelerator,
            secrets=given_secrets(arguments),
        )
    return show_new(arguments, pyro, made)


def _fork(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        pyro = pyro_mcp.Pyro(progress=line)
        made = pyro.fork_workspace(
            arguments.workspace_id,
            name=arguments.name,
            labels=labels(arguments.label),
            ttl_seconds=arguments.ttl_seconds,
        )
    return show_new(arguments, pyro, made)


def _list(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().list_workspaces()
    if arguments.json:
        print_json(found)
        return 0
    if not found["workspaces"]:
        print("no workspaces; 'pyro workspace create debian:12 --seed-path .' makes one")
        workspace_recovery.show_unknown(found.get("unknown", []))
        return 0
    rows = [("ID", "STATE", "ENVIRONMENT", "ACTIVE", "COMMANDS", "NAME")]
    rows += [
        (
            one["workspace_id"],
            one["state"],
            one["environment"],
            ago(one["last_activity_at"]),
            str(one["command_count"]),
            " ".join([one["name"] or "-", *(f"{key}={value}" for key, value in one["labels"].items())]),
        )
        for one in found["workspaces"]
    ]
    print(table(rows))
    workspace_recovery.show_unknown(found.get("unknown", []))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    return show_workspace(arguments, pyro_mcp.Pyro().status_workspace(arguments.workspace_id))


def _update(arguments: argparse.Namespace) -> int:
    updated = pyro_mcp.Pyro().update_workspace(
        arguments.workspace_id,
        name=arguments.name,
        clear_name=arguments.clear_name,
        labels=labels(arguments.label),
        clear_labels=arguments.clear_label,
        ttl_seconds=arguments.ttl_seconds,
    )
    return show_workspace(arguments, updated)


def _delete(arguments: argparse.Namespace) -> int:
    pyro, failures = pyro_mcp.Pyro(), []
    for id_ in arguments.workspace_id:
        try:
            done = pyro.delete_workspace(id_)
        except PyroError as error:
            failures.append(error)
            continue
        if arguments.json:
            print_json(done)
        else:
            print(f"{done['workspace_id']} is deleted")
    if failures:
        first = failures[0]
        raise type(first)("\n".join(error.message for error in failures), hint=first.hint)
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        stopped = pyro_mcp.Pyro(progress=line).stop_workspace(arguments.workspace_id, force=arguments.force)
    return show_workspace(arguments, stopped)


def _start(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        started = pyro_mcp.Pyro(progress=line).start_workspace(arguments.workspace_id)
    return show_workspace(arguments, started)


def _reset(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        fresh = pyro_mcp.Pyro(progress=line).reset_workspace(arguments.workspace_id, snapshot=arguments.snapshot)
    if arguments.json:
        print_json(fresh)
    else:
        print(f"{fresh['workspace_id']} is as in {fresh['snapshot_name']} again ({fresh['duration_ms']:.0f} ms)")
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    with streams(arguments) as ends:
        result = pyro_mcp.Pyro().exec_workspace(
            arguments.workspace_id,
            command=arguments.command,
            cwd=arguments.cwd,
            timeout_seconds=arguments.timeout_seconds,
            stdin=ends.stdin,
            on_stdout=ends.on_stdout,
            on_stderr=ends.on_stderr,
            secret_env=given_secret_env(arguments),
        )
    return finish(arguments, result)


def _logs(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().logs_workspace(arguments.workspace_id)
    if arguments.json:
        print_json(found)
        return 0
    for entry in found["entries"]:
        command = entry["command"] if isinstance(entry["command"], str) else " ".join(entry["command"])
        print(f"#{entry['sequence']} [{_ending(entry['exit_code'], entry['timed_out'])}] {shown(command)}")
        print(entry["stdout"], end="")
        print(entry["stderr"], end="")
    return 0


def _ending(exit_code: int | None, timed_out: bool) -> str:
    if timed_out:
        return "out of time"
    return "not ended" if exit_code is None else f"exit {exit_code}"


def _summary(arguments: argparse.Namespace) -> int:
    review = pyro_mcp.Pyro().summarize_workspace(arguments.workspace_id)
    if arguments.json:
        print_json(review)
        return 0
    print(f"{review['workspace_id']} {review['name'] or ''} ({review['state']}, reset {review['reset_count']} times)")
    for name, value in review["outcome"].items():
        print(f"  {name.replace('_', ' '):16} {'-' if value is None else value}")
    for entry in review["commands"]["recent"]:
        command = entry["command"] if isinstance(entry["command"], str) else " ".join(entry["command"])
        print(f"  [{_ending(entry['exit_code'], entry['timed_out'])}] {shown(command)}")
    for change in review["changes"].get("first", []):
        print(f"  {change['status']:12} {shown(change['path'])}")
    for one in review["changes"].get("self_running", []):
        print(f"  {one['tool']} runs by itself what changed: {shown(one['path'])}")
    if review["likely_secrets"]:
        print(f"  came with the seed and may hold secrets: {', '.join(map(shown, review['likely_secrets']))}")
    return 0
