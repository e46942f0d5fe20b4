"""Results as a model reads them: short, complete enough to go on from, nothing that has to be looked up elsewhere.

Every function gets a result that `plain.sanitize_result` returned, so no name in it can fill a line of its own.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyro_mcp.mcp_server.bounds import LONGEST_PART, LONGEST_TEXT, OMISSION, beginning, shared, shortened
from pyro_mcp.mcp_server.tool import Tool
from pyro_mcp.results import (
    CommandEnd,
    FileEntry,
    FileList,
    FileRead,
    SnapshotList,
    UnknownWorkspace,
    VmExecResult,
    WorkspaceAdopted,
    WorkspaceDiff,
    WorkspaceExecResult,
    WorkspaceExport,
    WorkspaceFileWrite,
    WorkspaceInfo,
    WorkspaceList,
    WorkspaceLogs,
    WorkspacePatch,
    WorkspaceReset,
    WorkspaceSummarized,
    WorkspaceSyncPush,
    shown_entry,
)

_MOST_ENTRIES = 500


def told(tool: Tool, result: Mapping[str, Any], steps: Mapping[str, str]) -> str:
    """Return the whole text of a result: the result, how to get what is left out, and possible next steps."""
    said = tool.tell(result)
    ends = [f"Next: {', '.join(f'{step} ({why})' for step, why in steps.items())}."] if steps else []
    if result.get("truncated") or OMISSION in said:
        ends.insert(0, f"The output was shortened; for the rest, {tool.rest}.")
    room = LONGEST_TEXT - sum(len(line.encode()) + 1 for line in ends)
    return "\n".join([shortened(said, room), *ends])


def moment(seconds: float) -> str:
    """Return a moment, and how far away it is."""
    left = seconds - time.time()
    return f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(seconds))} UTC, in {duration(left)}"


def duration(seconds: float) -> str:
    """Return seconds with a fitting unit."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def command_line(command: str | Sequence[str]) -> str:
    """Return a command as a shell takes it."""
    return command if isinstance(command, str) else shlex.join(command)


def end(result: CommandEnd) -> str:
    """Return how a command ended, then its output."""
    how = "killed at its time limit" if result["timed_out"] else f"exit code {result['exit_code']}"
    parts = [f"{how} ({duration_of(result['duration_ms'])})"]
    if result["timed_out"]:
        parts.append("Run long-lived programs in a service or a shell.")
    if result["hint"]:
        parts.append(f"Hint: {result['hint']}")
    parts += streams(result, stdout=result["stdout_bytes"], stderr=result["stderr_bytes"])
    if not result["stdout"] and not result["stderr"]:
        parts.append("(no output)")
    return "\n".join(parts)


def streams(result: Mapping[str, Any], longest: int = LONGEST_PART, **sizes: int) -> list[str]:
    """Return what a program wrote to its two streams; `sizes` are the bytes of each whole stream, if known."""
    names = [name for name in ("stdout", "stderr") if result[name]]
    rooms = shared([result[name] for name in names], longest)
    return [
        f"{name}:\n{shortened(result[name], room, of=sizes.get(name, 0)).rstrip()}"
        for name, room in zip(names, rooms, strict=True)
    ]


def duration_of(milliseconds: float) -> str:
    """Return milliseconds with a fitting unit."""
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else duration(milliseconds / 1000)


def vm_run(result: VmExecResult) -> str:
    where = "" if result["execution_mode"] != "host_compat" else "\nThis ran in a sandbox on the host, not in a VM."
    return f"{end(result)}{where}\nThe machine is deleted."


def executed(result: WorkspaceExecResult) -> str:
    return f"#{result['sequence']} in {result['workspace_id']}: {end(result)}"


def workspace(result: WorkspaceInfo) -> str:
    """Return the state of a workspace."""
    named = f" {result['name']!r}" if result["name"] else ""
    labels = "".join(f" {key}={value}" for key, value in result["labels"].items())
    reach = " ".join([result["network_policy"], *map(shown_entry, result["allow_hosts"])])
    lines = [
        f"{result['workspace_id']}{named}{labels} is {result['state']}: {result['environment']}, network {reach}.",
        f"{seed(result)} Stops by itself at {moment(result['expires_at'])}.",
    ]
    if result["failure"]:
        lines.append(f"Failure: {result['failure']}")
    if result["secrets"]:
        lines.append(f"Secrets: {', '.join(one['name'] for one in result['secrets'])}")
    if result["service_count"]:
        lines.append(f"Services: {result['service_count']}, {result['running_service_count']} of them running")
    return "\n".join(lines)


def seed(result: WorkspaceInfo) -> str:
    """Return what /workspace was created from."""
    found = result["workspace_seed"]
    if found["mode"] == "empty":
        return "/workspace began empty."
    skipped = f" ({len(found['skipped'])} special files left out)" if found["skipped"] else ""
    lines = [f"/workspace began as {found['origin_ref']}: {found['entry_count']} entries{skipped}."]
    if found["ignored_count"]:
        lines.append(f"{found['ignored_count']} of them ignored by .gitignore ({found['ignored_bytes']} bytes).")
    if found["likely_secrets"]:
        lines.append(listed("These may hold secrets; tell the user:", found["likely_secrets"], 500))
    return "\n".join([*lines, *found["remarks"]])


def reset(result: WorkspaceReset) -> str:
    return (
        f"{result['workspace_id']} is as in {result['snapshot_name']!r} again ({duration_of(result['duration_ms'])}): "
        f"/workspace restored, installed packages {'restored' if result['with_system'] else 'gone'}, "
        "the command history gone."
    )


def workspaces(result: WorkspaceList) -> str:
    """Return a line for each workspace."""
    if not result["workspaces"]:
        return "\n".join(["There are no workspaces.", *unknown(result.get("unknown", []))])
    lines = []
    for one in result["workspaces"]:
        labels = " ".join(f"{key}={value}" for key, value in one["labels"].items())
        words = [one["workspace_id"], one["name"] or "-", one["state"], one["environment"], labels]
        lines.append(f"{' '.join(filter(None, words))} (used {duration(time.time() - one['last_activity_at'])} ago)")
    return listed(
        f"{result['count']} workspaces, most recently active first:", [*lines, *unknown(result.get("unknown", []))]
    )


def unknown(found: Sequence[UnknownWorkspace]) -> list[str]:
    """Return a line for each workspace that the database does not know."""
    return [
        f"{one['workspace_id']} {one['name'] or '-'} is on the disk, but not in the database"
        f"{': ' + one['problem'] if one['problem'] else '; workspace_adopt takes it back'}"
        for one in found
    ]


def adopted(result: WorkspaceAdopted) -> str:
    lines = [f"{one['workspace_id']} {one['name'] or '-'} is {one['state']}" for one in result["workspaces"]]
    return listed(f"{result['count']} adopted.", [*lines, *unknown(result.get("unknown", []))])


def listed(heading: str, lines: Sequence[str], longest: int = LONGEST_PART) -> str:
    """Return a heading, as many of the lines as fit, and the number of the others."""
    shown, left = [heading], longest
    for line in lines:
        left -= len(line.encode(errors="replace")) + 1
        if left < 0 or len(shown) > _MOST_ENTRIES:
            break
        shown.append(line)
    more = len(lines) + 1 - len(shown)
    return "\n".join([*shown, *([f"{OMISSION}and {more} more …]"] if more else [])])


def logs(result: WorkspaceLogs) -> str:
    """Return the history, each command with a part of its output: more of it if there are few commands."""
    entries = result["entries"]
    longest = max(400, LONGEST_PART // max(len(entries), 1) - 200)
    lines = []
    for one in entries:
        how = "killed at its time limit" if one["timed_out"] else f"exit code {one['exit_code']}"
        how = "not ended" if one["exit_code"] is None else how
        lines.append(f"#{one['sequence']} [{how}] {shortened(command_line(one['command']), 500)}")
        lines += streams(one, longest)
    return listed(f"{result['count']} commands in {result['workspace_id']} since creation or reset:", lines)


def entry(one: FileEntry) -> str:
    """Return a file or folder on a line."""
    if one["artifact_type"] == "symlink":
        return f"{one['path']} -> {one['link_target']}"
    return f"{one['path']}/" if one["artifact_type"] == "directory" else f"{one['path']} ({one['size_bytes']} bytes)"


def file_list(result: FileList) -> str:
    return listed(f"{result['path']}: {result['count']} entries", [entry(one) for one in result["entries"]])


def file_read(result: FileRead) -> str:
    """Return the content as it is, after a remark if there is more."""
    size, after = result["size_bytes"], result["next_offset"]
    if not result["content"]:
        return f"({result['path']} is empty)" if not size else f"({result['path']} ends at byte {size})"
    shown, rest = beginning(result["content"])
    if not result["offset"] and after is None and not rest:
        return shown
    parts = [f"[bytes {result['offset']} to {size if after is None else after} of {size} of {result['path']}]"]
    more = [f"{OMISSION}{rest} bytes left out; read with a smaller max_bytes …]"] if rest else []
    more += [f"{OMISSION}read on with offset={after} …]"] if after is not None else []
    return "\n".join([*parts, shown.rstrip("\n"), *more])


def written(result: WorkspaceFileWrite) -> str:
    return f"{'Replaced' if result['replaced'] else 'Created'} {result['path']} ({result['bytes_written']} bytes)."


def counted(summary: Mapping[str, Any]) -> str:
    """Return the number of changes of each kind."""
    kinds = ("added", "modified", "deleted", "renamed", "type_changed")
    return ", ".join(f"{summary[kind]} {kind}" for kind in kinds if summary.get(kind)) or "no changes"


def changes(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each changed path."""
    lines = []
    for one in entries:
        before = f"{one['old_path']} -> " if one.get("old_path") else ""
        lines.append(f"{one['status']} {before}{one['path']}")
    return lines


def patched(result: WorkspacePatch) -> str:
    if not result["changed"]:
        return "The patch changed nothing."
    return listed(f"Applied: {counted(result['summary'])}.", changes(result["entries"]))


def diff(result: WorkspaceDiff) -> str:
    """Return the changed paths, then as many whole files of the patch as fit."""
    if not result["changed"]:
        return f"{result['workspace_id']} is as it was created: no changes."
    parts = [listed(f"{counted(result['summary'])} since creation:", changes(result["entries"]), LONGEST_PART // 4)]
    if result["git_changes"]:
        parts.append(f"({result['git_changes']} paths in .git folders changed too)")
    if result["ignored_count"]:
        names = listed("Changed too, but ignored by .gitignore (include_ignored shows them):", result["ignored"], 500)
        parts.append(names)
    if result["left_out"]:
        left_out = listed("Not in this patch: not text (binary), too large or special:", result["left_out"], 1000)
        parts.append(left_out)
    room = LONGEST_PART - sum(len(one.encode(errors="replace")) for one in parts)
    shown, rest = beginning(result["patch"], room)
    last = shown.rfind("\ndiff --git ")
    if rest and last > 0:
        shown, rest = shown[: last + 1], rest + len(shown[last + 1 :].encode(errors="replace"))
    return "\n".join([*parts, shown.rstrip(), *([f"{OMISSION}{rest} more bytes of the patch …]"] if rest else [])])


def exported(result: WorkspaceExport) -> str:
    left_out = [f"left out {one['path']}: {one['reason']}" for one in result["skipped"]]
    warned = [f"{one['tool']} runs {one['path']} by itself; tell the user" for one in result["self_running"]]
    size = f"{result['entry_count']} entries, {result['bytes_written']} bytes"
    done = f"Copied {result['workspace_path']} to {result['output_path']} on the host ({size})."
    more = f" {result['skipped_count']} left out or changed." if left_out else ""
    return listed(f"{done}{more}", [*warned, *left_out], 3000)


def pushed(result: WorkspaceSyncPush) -> str:
    lines = [f"Copied {result['source_path']} to {result['destination']}: {result['entry_count']} entries."]
    if result["overwritten"]:
        lines.append(listed("Overwritten:", result["overwritten"], 2000))
    if result["skipped"]:
        lines.append(listed("Left out:", result["skipped"], 2000))
    return "\n".join(lines)


def summary(result: WorkspaceSummarized) -> str:
    """Return the session in a few lines."""
    outcome = result["outcome"]
    lines = [
        f"{result['workspace_id']} {result['name'] or ''} ({result['state']}), reset {result['reset_count']} times"
    ]
    lines.append(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in outcome.items() if value is not None))
    for one in result["commands"]["recent"]:
        command = shortened(command_line(one["command"]), 200)
        lines.append(f"#{one['sequence']} [exit code {one['exit_code']}] {command}")
    if result["changes"].get("available"):
        lines.append(f"Changes: {counted(result['changes'])}")
        lines += changes(result["changes"].get("first", []))
    for one in result["artifacts"]:
        lines.append(f"Exported {one.get('path')} to {one.get('output_path')}")
    names = [one["snapshot_name"] for one in result["snapshots"]]
    return "\n".join([*lines, f"Snapshots: {', '.join(names)}"])


def snapshots(result: SnapshotList) -> str:
    lines = [
        f"{one['snapshot_name']} ({one['kind']}{', with system' if one['with_system'] else ''})"
        for one in result["snapshots"]
    ]
    return listed("Snapshots:", lines)
