"""Print one workspace."""

from __future__ import annotations

import argparse
import os
import sys

import pyro_mcp
from pyro_mcp.command_line import print_json, shown, size, until
from pyro_mcp.results import WorkspaceInfo, WorkspaceSecret, shown_entry


def show_new(arguments: argparse.Namespace, pyro: pyro_mcp.Pyro, made: WorkspaceInfo) -> int:
    """Print a new workspace; delete it when that is interrupted, as nobody would know of it."""
    try:
        if arguments.id_only:
            print(made["workspace_id"])
            if names := made["workspace_seed"]["likely_secrets"]:
                print(f"pyro: copied, and may hold secrets: {', '.join(map(shown, names))}", file=sys.stderr)
        else:
            show_workspace(arguments, made)
        sys.stdout.flush()
    except BaseException:
        # What is still buffered is neither to be told nor to be waited for when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        pyro.delete_workspace(made["workspace_id"])
        raise
    return 0


def show_workspace(arguments: argparse.Namespace, info: WorkspaceInfo) -> int:
    """Print a workspace; returns the exit code."""
    if arguments.json:
        print_json(info)
        return 0
    print(f"{info['workspace_id']}  {info['state']}  {info['name'] or ''}".rstrip())
    seed = info["workspace_seed"]
    rows = {
        "environment": f"{info['environment']} {info['environment_version']}",
        "machine": f"{info['vcpu_count']} vCPU, {info['mem_mib']} MiB",
        "runs": f"{info['execution_mode']} on {info['accelerator']}",
        "fork of": seed["origin_ref"] if seed["origin_kind"] == "fork" else None,
        "seed": f"{seed['seed_path'] or 'empty'} ({seed['entry_count']} entries)",
        "network": " ".join([info["network_policy"], *map(shown_entry, info["allow_hosts"])]),
        "secrets": " ".join(map(_secret, info["secrets"])),
        "labels": " ".join(f"{key}={value}" for key, value in info["labels"].items()),
        "resets": str(info["reset_count"]),
        "ends": until(info["expires_at"]),
        "failure": info["failure"] or "",
    }
    for name, value in rows.items():
        if value:
            print(f"  {name:12} {value}")
    if seed["ignored_count"]:
        kept = f"{seed['ignored_count']} files, {size(seed['ignored_bytes'])}"
        print(f"  copied although .gitignore ignores them: {kept}; create with --no-ignored to leave these out")
    if seed["likely_secrets"]:
        print(f"  copied, and may hold secrets: {', '.join(map(shown, seed['likely_secrets']))}")
    for remark in seed["remarks"]:
        print(f"  {shown(remark)}")
    for path in seed["skipped"]:
        print(f"  left out of the seed (not a file, folder or link): {shown(path)}")
    return 0


def _secret(one: WorkspaceSecret) -> str:
    if "host" not in one:
        return one["name"]
    hosts = ",".join(one.get("hosts", [one["host"]]))
    places = {"header": one.get("header"), "basic": one.get("basic"), "query": one.get("query")}
    place = next(
        (text if name == "header" else f"{name} {text}" for name, text in places.items() if text is not None), ""
    )
    return f"{one['name']}@{hosts} ({place})"
