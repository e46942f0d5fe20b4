"""The SDK: `Pyro`, and the MCP server over it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyro_mcp import workspaces
from pyro_mcp.workspaces import OutputSink

if TYPE_CHECKING:
    from pyro_mcp.server import WorkspaceServer

__all__ = ["OutputSink", "Pyro", "create_server"]


class Pyro(workspaces.Pyro):
    __doc__ = workspaces.Pyro.__doc__

    def create_server(
        self,
        profile: str | None = None,
        *,
        mode: str | None = None,
        project_path: str | Path | None = None,
        repo_url: str | None = None,
        repo_ref: str | None = None,
        no_project_source: bool = False,
    ) -> WorkspaceServer:
        """An MCP server over these machines: the tools of a profile or of a mode, by default "workspace-core".

        A workspace that is created without a seed begins as the project: `project_path`, or a clean clone of
        `repo_url` at `repo_ref`, or else the git checkout around the current folder. Raises `InvalidRequest`.
        """
        from pyro_mcp import server  # noqa: PLC0415 - it takes longer to import than all the rest

        return server.create_server(
            self,
            profile=profile,
            mode=mode,
            project_path=project_path,
            repo_url=repo_url,
            repo_ref=repo_ref,
            no_project_source=no_project_source,
        )


def create_server(
    profile: str | None = None,
    *,
    mode: str | None = None,
    project_path: str | Path | None = None,
    repo_url: str | None = None,
    repo_ref: str | None = None,
    no_project_source: bool = False,
) -> WorkspaceServer:
    """`Pyro.create_server` over the machines of this user."""
    return Pyro().create_server(
        profile,
        mode=mode,
        project_path=project_path,
        repo_url=repo_url,
        repo_ref=repo_ref,
        no_project_source=no_project_source,
    )
