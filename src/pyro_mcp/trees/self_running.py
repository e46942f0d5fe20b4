"""Files that some program runs, or reads commands from, when their folder is entered, opened or installed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

# A pattern with a slash matches the end of a path, one without matches the last name; `*` also matches slashes.
_PROGRAM_BY_PATTERN: Mapping[bytes, str] = {
    b".envrc": "direnv",
    b"mise.toml": "mise",
    b".mise.toml": "mise",
    b".autoenv": "autoenv",
    b".vscode/*": "VS Code and its relatives",
    b"*.code-workspace": "VS Code and its relatives",
    b".idea/*": "JetBrains IDEs",
    b".zed/*": "Zed",
    b".devcontainer.json": "dev containers",
    b".devcontainer/*": "dev containers",
    b".dir-locals.el": "Emacs",
    b".exrc": "Vim",
    b".vimrc": "Vim",
    b".nvim.lua": "Neovim",
    b".gdbinit": "gdb",
    b".lldbinit": "lldb",
    b".claude/*": "Claude Code",
    b".codex/*": "Codex",
    b".cursor/*": "Cursor",
    b".mcp.json": "chat hosts",
    b"opencode.json": "OpenCode",
    b"opencode.jsonc": "OpenCode",
    b".husky/*": "git hooks by husky",
    b".githooks/*": "git hooks of the project",
    b".pre-commit-config.yaml": "git hooks by pre-commit",
    b"lefthook.y*ml": "git hooks by lefthook",
    b".gitmodules": "git submodule",
    b".github/workflows/*": "GitHub Actions, once pushed",
    b".github/actions/*": "GitHub Actions, once pushed",
    b".gitlab-ci.yml": "GitLab CI, once pushed",
    b".gitea/workflows/*": "Gitea Actions, once pushed",
    b".forgejo/workflows/*": "Forgejo Actions, once pushed",
    b".circleci/*": "CircleCI, once pushed",
    b"Jenkinsfile": "Jenkins, once pushed",
    b"azure-pipelines.y*ml": "Azure Pipelines, once pushed",
    b"bitbucket-pipelines.yml": "Bitbucket Pipelines, once pushed",
    b".woodpecker.y*ml": "Woodpecker CI, once pushed",
    b".woodpecker/*": "Woodpecker CI, once pushed",
    b".travis.yml": "Travis CI, once pushed",
    b".drone.yml": "Drone, once pushed",
    b".buildkite/*": "Buildkite, once pushed",
    b".npmrc": "npm",
    b".pnpmfile.cjs": "pnpm",
    b".yarnrc.yml": "yarn",
    b".yarn/*": "yarn",
    b".pnp.cjs": "yarn",
    b"node_modules/.bin/*": "npm scripts",
    b".cargo/config": "cargo",
    b".cargo/config.toml": "cargo",
    b"rust-toolchain": "rustup",
    b"rust-toolchain.toml": "rustup",
    b"sitecustomize.py": "Python",
    b"usercustomize.py": "Python",
    b"*.pth": "Python",
    b".mvn/*": "Maven",
    b"gradle/wrapper/*": "Gradle",
    b".bazelrc": "Bazel",
}


def program_that_runs(path: bytes) -> str:
    """Return the program that runs the file at this path of a tree by itself, or "" for none that is known."""
    name, whole = posixpath.basename(path), b"/" + path
    for pattern, program in _PROGRAM_BY_PATTERN.items():
        if fnmatchcase(whole, b"*/" + pattern) if b"/" in pattern else fnmatchcase(name, pattern):
            return program
    return ""


def first_of_each_folder(paths: Iterable[bytes], most: int) -> list[bytes]:
    """Return the first path of each folder, at most `most` in all: `node_modules/.bin` may hold hundreds."""
    by_folder: dict[bytes, bytes] = {}
    for path in paths:
        by_folder.setdefault(posixpath.dirname(path) or path, path)
        if len(by_folder) == most:
            break
    return list(by_folder.values())
