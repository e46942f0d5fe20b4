"""A server from the options that a user gives."""

from __future__ import annotations

from pathlib import Path

from pyro_mcp._version import __version__
from pyro_mcp.server.profiles import select
from pyro_mcp.server.server import WorkspaceServer
from pyro_mcp.server.source import project_source
from pyro_mcp.workspaces import Pyro


def create_server(
    pyro: Pyro,
    *,
    profile: str | None = None,
    mode: str | None = None,
    project_path: str | Path | None = None,
    repo_url: str | None = None,
    repo_ref: str | None = None,
    no_project_source: bool = False,
) -> WorkspaceServer:
    """A server that offers the tools of a profile or a mode, `workspace-core` without either.

    A workspace that is created without a seed begins as the project: `project_path`, or a clean clone of `repo_url` at
    `repo_ref`, or else the git checkout around the current folder. Raises `InvalidRequest` for options that cannot be.
    """
    source = project_source(project_path, repo_url, repo_ref, no_project_source=no_project_source)
    return WorkspaceServer(pyro, select(profile, mode), source, __version__)
