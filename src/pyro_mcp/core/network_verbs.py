"""The verbs about networks."""

from __future__ import annotations

from pyro_mcp.core.components import Components
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.machines import network_info, network_log
from pyro_mcp.results import WorkspaceNetworkInfo, WorkspaceNetworkLog


class NetworkVerbs(Components):
    """What workspaces may reach, and what they tried to."""

    def network_info_workspace(self, workspace_id: str) -> WorkspaceNetworkInfo:
        """Return the current state of the workspace's network."""
        self._workspace_store.get(workspace_id)
        return network_info(self._lifecycle.current_record(workspace_id), self._lifecycle.folders)

    def network_log_workspace(self, workspace_id: str, *, limit: int = 200) -> WorkspaceNetworkLog:
        """Return the newest `limit` connections that the workspace asked for, with the reason for each refusal."""
        if limit < 1:
            raise InvalidRequest(f"limit is at least 1, not {limit}")
        self._workspace_store.get(workspace_id)
        return network_log(self._lifecycle.store.get(workspace_id), self._lifecycle.folders, limit)
