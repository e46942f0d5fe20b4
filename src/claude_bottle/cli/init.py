"""claude-bottle init"""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path

from pyro_mcp.command_line import Verbs, print_json, shown, verb
from pyro_mcp.errors import Conflict

STARTER = """\
# What coding agents may touch. 'claude-bottle check' checks this file, 'claude-bottle plan AGENT' shows everything that
# a launch would do, 'claude-bottle run AGENT' launches an agent. Keys that are missing have their defaults.
#
# To let an editor complete this file, run 'claude-bottle schema >bottles.schema.json', and write into the first line:
# #:schema bottles.schema.json

# A bottle: a machine, or a container, and what can be reached from it. Without any key it is a fresh machine that
# reaches only the API of its agent's model.
[bottles.dev]
#environment = "debian:12-agent"
#packages = ["ripgrep"]                      # Debian packages, installed at the launch

# Hosts that may be reached, at ports 80 and 443 or at the one that is named; all others are refused.
#egress = [
#    "pypi.org",
#    "*.pythonhosted.org:443",
#    { host = "api.github.com", methods = ["GET"], paths = ["/repos/*"] },
#    { host = "model.internal", upstream = "http://127.0.0.1:8080" },    # a port of this computer
#]

#[bottles.dev.resources]
#vcpu_count = 2
#mem_mib = 2048
#ttl_seconds = 86400                         # the machine or container is ended after this time

# Environment variables of the agent.
#[bottles.dev.env]
#PIP_DISABLE_PIP_VERSION_CHECK = "1"

# A secret's value never enters the bottle. There the variable GITHUB_TOKEN holds a placeholder; in requests to these
# hosts, a gateway outside replaces it by the value that the variable GITHUB_TOKEN has on this computer.
#[bottles.dev.secrets.GITHUB_TOKEN]
#env = "GITHUB_TOKEN"                        # or: file = "~/.secrets/github"
#hosts = ["api.github.com"]
#header = "Authorization"                    # or: basic = "USER", or: query = "PARAMETER"

#[bottles.dev.git]
#user_name = "Agent"
#user_email = "agent@example.com"

# An agent: a program that works in a bottle, with its prompt and its skills.
[agents.claude]
bottle = "dev"
harness = "claude"                            # or "codex", "opencode", or a command: ["my-agent", "--verbose"]
prompt = ""                                   # added to the system prompt
skills = []                                   # folders of ~/.claude/skills
#model = "sonnet"
#args = []
#login = "keep"                               # a subscription: log in once in the bottle; without it, an API key
"""


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "init",
        "write bottles.toml, a manifest with comments, at the root of this project",
        _init,
        example="claude-bottle init",
    )
    parser.add_argument("--user", action="store_true", help="write your own manifest, which applies to every project")


def _init(arguments: argparse.Namespace) -> int:
    from claude_bottle.manifest import levels, trust  # noqa: PLC0415 - pydantic is slow to import

    folder = levels.user_folder() if arguments.user else levels.project_root(Path.cwd())
    if (there := levels.manifest_in(folder)) is not None:
        raise Conflict(
            f"{there} exists already", hint="edit it, or move it away; 'claude-bottle check' shows its content"
        )
    if arguments.user:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "bottles.toml"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "w") as file:
        file.write(STARTER)
    if not arguments.user:
        trust.trust(path, hashlib.sha256(STARTER.encode()).hexdigest())
    if arguments.json:
        print_json({"path": str(path)})
        return 0
    print(f"wrote {shown(str(path))}")
    if arguments.user:
        print("next: edit it, then check it with 'claude-bottle check'")
    else:
        print("next: edit it, check it with 'claude-bottle check', approve it with 'claude-bottle trust'")
    return 0
