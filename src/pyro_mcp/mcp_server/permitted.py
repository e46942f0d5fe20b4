"""The workspaces and machines of the user that the tools of a server may work in.

All tools work on the machines of one user, whoever made them. A server refuses those that a program keeps for itself
(`MANAGED_BY`), and those with more network than the server's own ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro_mcp.core import Pyro
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.mcp_server.network_bounds import Reach
from pyro_mcp.results import MANAGED_BY, WorkspaceAdopted, WorkspaceInfo, WorkspaceList


def permitted(pyro: Pyro, reach: Reach, tool: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call with the id of its workspace in place of a name.

    Raises `InvalidRequest` for a workspace or a machine that this server may not use, `NotFound` for none.
    """
    if MANAGED_BY in given.get("labels", {}):
        raise InvalidRequest(f"the label {MANAGED_BY} is for programs that manage workspaces of their own")
    if "vm_id" in given:
        reach.check_machine({"network": pyro.status_vm(given["vm_id"])["network"]})
    if "workspace_id" not in given or tool == "workspace_adopt":  # what the database does not know has no labels yet
        return dict(given)
    workspace = pyro.status_workspace(given["workspace_id"])
    _check(workspace, reach)
    return {**given, "workspace_id": workspace["workspace_id"]}


def _check(workspace: WorkspaceInfo, reach: Reach) -> None:
    id_, manager = workspace["workspace_id"], workspace["labels"].get(MANAGED_BY)
    if manager is not None:
        raise InvalidRequest(f"{id_} is managed by {manager}; these tools do not work in it", hint=_OWN)
    if not reach.has(workspace["network_policy"], workspace["allow_hosts"]):
        raise InvalidRequest(f"{id_} reaches more of the network than workspaces of this server may", hint=_OWN)


_OWN = Hint("make a workspace of your own: {}", Verb("workspace create"))


def without_managed_list(found: WorkspaceList) -> WorkspaceList:
    """Return a list without the workspaces that other programs manage."""
    own = [one for one in found["workspaces"] if MANAGED_BY not in one["labels"]]
    return {**found, "count": len(own), "workspaces": own}


def without_managed_adopted(found: WorkspaceAdopted) -> WorkspaceAdopted:
    """Return what was adopted without the workspaces that other programs manage."""
    own = [one for one in found["workspaces"] if MANAGED_BY not in one["labels"]]
    return {**found, "count": len(own), "workspaces": own}
