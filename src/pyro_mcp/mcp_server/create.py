"""A server from the options that a user gives."""

from __future__ import annotations

from typing import Unpack

from pyro_mcp._version import __version__
from pyro_mcp.core import Pyro
from pyro_mcp.mcp_server.catalogue import Catalogue
from pyro_mcp.mcp_server.network_bounds import Reach
from pyro_mcp.mcp_server.profiles import select
from pyro_mcp.mcp_server.project_seed import project_source
from pyro_mcp.mcp_server.server import WorkspaceServer
from pyro_mcp.serving import ServeKeywords, ServeOptions


def create_server(pyro: Pyro, profile: str | None = None, **options: Unpack[ServeKeywords]) -> WorkspaceServer:
    """Return a server that offers the tools of a profile or a mode, `workspace-core` without either.

    A workspace that is created without a seed begins as the project: `project_path`, or a clean clone of `repo_url` at
    `repo_ref`, or else the git checkout around the current folder. Raises `InvalidRequest` for options that cannot be.
    """
    given = ServeOptions(profile, **options)
    source = project_source(
        given.project_path, given.repo_url, given.repo_ref, no_project_source=given.no_project_source
    )
    catalogue = Catalogue(
        select(given.profile, given.mode),
        source,
        Reach(given.network_policy, tuple(given.allow_hosts)),
        __version__,
        structured=given.results != "text",
        accelerator=given.accelerator,
    )
    return WorkspaceServer(pyro, catalogue)
