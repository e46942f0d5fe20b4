"""pyro env list | pull | inspect | save | build | export | delete | prune"""

from __future__ import annotations

import argparse
import sys

import pyro_mcp
from pyro_mcp.cli.options import accelerator_option, allow_host_option, host_settings_options, labels
from pyro_mcp.command_line import Verbs, paragraph, print_json, progress_line, shown, size, table, verb
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.results import EnvironmentDetails


def add(verbs: Verbs) -> None:
    group = verbs.add_parser("env", help="list, build, fetch and remove environments")
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    verb(inner, "list", "list the environments and which are installed", _list, example="pyro env list")
    pull = verb(inner, "pull", "build or fetch an environment", _pull, example="pyro env pull debian:12")
    inspect = verb(
        inner, "inspect", "show the details of an environment", _inspect, example="pyro env inspect debian:12"
    )
    for parser in (pull, inspect):
        parser.add_argument("environment", help="a name from 'pyro env list', or oci:REGISTRY/NAME:TAG[@DIGEST]")
    save = verb(
        inner,
        "save",
        "make an environment from a workspace: its installed packages, without /workspace",
        _save,
        example="pyro env save my-project --from ws-0123456789ab",
    )
    new_name_argument(save)
    save.add_argument("--from", required=True, dest="workspace_id", metavar="WORKSPACE_ID", help="running or stopped")
    _add_build(inner)
    export = verb(
        inner,
        "export",
        "write the root files of an environment as a tar file, for docker import",
        _export,
        example="pyro env export debian:12 --output debian.tar",
    )
    export.add_argument("environment", help="a name from 'pyro env list', or oci:REGISTRY/NAME:TAG[@DIGEST]")
    export.add_argument("--output", required=True, metavar="FILE", help="a new file; - is standard output")
    delete = verb(inner, "delete", "remove an environment that you made", _delete, example="pyro env delete my-project")
    delete.add_argument("name", metavar="NAME", help="as 'pyro env list' shows it")
    prune = verb(
        inner,
        "prune",
        "remove old versions, leftovers, warm templates and unused images",
        _prune,
        example="pyro env prune",
    )
    prune.add_argument("--keep", action="append", default=[], metavar="NAME", help="keep this registry image too")


def _add_build(inner: Verbs) -> None:
    build = verb(
        inner,
        "build",
        "make an environment from a Dockerfile or a devcontainer.json",
        _build,
        example="pyro env build my-project ./Dockerfile --network",
    )
    new_name_argument(build)
    build.add_argument("path", metavar="FILE", help="a Dockerfile, a folder with one, or a devcontainer.json")
    build.add_argument("--context", metavar="PATH", help="where COPY takes files from (default: the file's folder)")
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="a value for an ARG")
    build.add_argument("--target", metavar="STAGE", help="the stage to build (default: the last)")
    build.add_argument("--network", action="store_true", help="let steps reach public addresses (default: no network)")
    allow_host_option(build, "with --network: the only hosts that steps may reach")
    host_settings_options(build)
    build.add_argument("--vcpu-count", type=int, default=1, metavar="N", help="virtual processors (default 1)")
    build.add_argument("--mem-mib", type=int, default=1024, metavar="N", help="memory in MiB (default 1024)")
    build.add_argument(
        "--timeout-seconds", type=float, default=3600, metavar="S", help="kill a step after S seconds (default 3600)"
    )
    accelerator_option(build, "what runs the machines")


def new_name_argument(parser: argparse.ArgumentParser) -> None:
    """Add the name of the environment that a verb makes."""
    parser.add_argument("name", metavar="NAME", help="small letters, digits, '.', '-', '_', and an optional :TAG")
    parser.add_argument("--replace", action="store_true", help="replace an environment of this name")


def _list(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().list_environments()
    if arguments.json:
        print_json(found)
        return 0
    rows = [("NAME", "VERSION", "SIZE", "DESCRIPTION")]
    rows += [
        (one["name"], one["version"][:19], size(one["size_bytes"]), one["description"]) for one in found["environments"]
    ]
    print(table(rows))
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        details = pyro_mcp.Pyro(progress=line).pull_environment(arguments.environment)
    return show_new(arguments, details)


def _save(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        details = pyro_mcp.Pyro(progress=line).save_environment(
            arguments.name, workspace_id=arguments.workspace_id, replace=arguments.replace
        )
    return show_new(arguments, details)


def _build(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        details = pyro_mcp.Pyro(progress=line).build_environment(
            arguments.name,
            path=arguments.path,
            context=arguments.context,
            build_args=labels(arguments.build_arg, option="--build-arg"),
            target=arguments.target,
            network=arguments.network,
            allow_hosts=arguments.allow_host,
            trust_host_ca=arguments.trust_host_ca,
            host_mirrors=arguments.host_mirrors,
            vcpu_count=arguments.vcpu_count,
            mem_mib=arguments.mem_mib,
            timeout_seconds=arguments.timeout_seconds,
            replace=arguments.replace,
            accelerator=arguments.accelerator,
        )
    for ignored in details["origin"].get("ignored", []):
        print(f"pyro: without effect: {shown(ignored)}", file=sys.stderr)
    return show_new(arguments, details)


def show_new(arguments: argparse.Namespace, details: EnvironmentDetails) -> int:
    """Print what has just been installed."""
    if arguments.json:
        print_json(details)
    else:
        print(f"{details['name']} {details['version'][:19]} is installed ({size(details['size_bytes'])})")
    for lacking in details["origin"].get("lacks", []):
        print(f"pyro: built without {shown(lacking)}", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    to_stdout = arguments.output == "-"
    if to_stdout and arguments.json:
        raise InvalidRequest("the tar and the JSON cannot both go to standard output", hint="name a file with --output")
    if to_stdout and sys.stdout.isatty():
        raise InvalidRequest("a tar is not written to a terminal", hint="redirect the output, or name a file")
    with progress_line() as line:
        done = pyro_mcp.Pyro(progress=line).export_environment(
            arguments.environment, output=sys.stdout.buffer if to_stdout else arguments.output
        )
    if arguments.json:
        print_json(done)
    elif not to_stdout:
        print(f"{done['name']} {done['version'][:19]} is in {done['output_path']} ({done['entry_count']} files)")
    for path in done["left_out"]:
        print(f"pyro: left out: {shown(path)}", file=sys.stderr)
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    done = pyro_mcp.Pyro().delete_environment(arguments.name)
    if arguments.json:
        print_json(done)
    else:
        print(f"{done['name']} is deleted, {size(done['freed_bytes'])} freed")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    details = pyro_mcp.Pyro().inspect_environment(arguments.environment)
    if arguments.json:
        print_json(details)
        return 0
    print(f"{details['name']}: {details['description']}")
    print(f"  version    {details['version'] or '-'}")
    print(f"  installed  {'yes, ' + size(details['size_bytes']) if details['installed'] else 'no'}")
    for name, value in (("image", details["path"]), ("digest", details["digest"])):
        if value:
            print(f"  {name:9}  {value}")
    if parent := details["origin"].get("parent"):
        print(f"  parent     {parent} {details['origin'].get('parent_version', '')}".rstrip())
    if details["packages"]:
        print(paragraph(f"  packages   {' '.join(details['packages'])}", indent=13))
    for name, version in details["programs"].items():
        print(f"  program    {name} {version}")
    for name, value in details["environ"].items():
        print(f"  {name}={value}")
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    report = pyro_mcp.Pyro().prune_environments(keep=arguments.keep)
    if arguments.json:
        print_json(report)
        return 0
    for name in report["removed"]:
        print(f"removed {name}")
    for name in report["skipped"]:
        print(f"left alone, in use: {name}")
    print(f"{size(report['freed_bytes'])} freed")
    return 0
