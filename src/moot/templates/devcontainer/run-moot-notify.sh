#!/usr/bin/env bash
# The program that types messages into the terminal of one agent, for a harness without a channel.
#
# The role and all paths reach Python as variables: nothing of them becomes a part of a script.
set -euo pipefail

export CONVO_ROLE="${CONVO_ROLE:-implementation}" MOOT_LOG_LEVEL="${MOOT_LOG_LEVEL:-DEBUG}"
root=$PWD
while [[ $root != / && ! -f $root/moot.toml ]]; do
    root=$(dirname "$root")
done
# The worktree of a role has moot.toml too, but .moot is only in the main worktree, which is the first of the list.
main=$(git -C "$root" worktree list --porcelain 2>/dev/null | sed -n '1s/^worktree //p') || main=
below=$(git -C "$root" rev-parse --show-prefix 2>/dev/null) || below=
export MOOT_ROOT="$root"
if [[ -n $main && (-f $main/${below}moot.toml || -d $main/${below}.moot) ]]; then
    MOOT_ROOT=$main/${below%/}
fi

log=/dev/null
if [[ $CONVO_ROLE =~ ^[A-Za-z0-9][A-Za-z0-9_-]*$ ]] && mkdir -p -m 0700 "$MOOT_ROOT/.moot/logs"; then
    log=$MOOT_ROOT/.moot/logs/notify-$CONVO_ROLE.stderr.log
    # Five megabytes, and as much of what was before.
    if [[ -f $log && $(stat -c %s "$log") -gt 5242880 ]]; then
        mv "$log" "$log.1"
    fi
fi

exec python3 -u -P /dev/fd/3 "$@" 3<<'PYTHON' 2>>"$log"
import json
import os
import sys
import tomllib
from pathlib import Path

root, role = Path(os.environ["MOOT_ROOT"]), os.environ["CONVO_ROLE"]
keys, settings = root / ".moot/actors.json", root / "moot.toml"
if keys.is_file():
    data = json.loads(keys.read_text())
    actor = data.get('actors', {}).get(role, {})
    if actor.get("api_key"):
        os.environ["CONVO_API_KEY"] = actor["api_key"]
        os.environ["CONVO_AGENT_ID"] = actor.get("actor_id", "")
        os.environ["CONVO_AGENT_NAME"] = actor.get("display_name") or role
if not os.environ.get("CONVO_API_KEY"):
    print(f"WARNING: No API key for role {role!r} in {keys}: run 'moot init'", file=sys.stderr, flush=True)
if settings.is_file():
    convo = tomllib.loads(settings.read_text()).get("convo", {})
    for variable, field in (("CONVO_API_URL", "api_url"), ("CONVO_SPACE_ID", "space_id")):
        if convo.get(field):
            os.environ.setdefault(variable, str(convo[field]))
os.close(3)
os.execv(sys.executable, [sys.executable, "-u", "-P", "-m", "moot.adapters.notify_runner", *sys.argv[1:]])
PYTHON
