"""The one core object: every verb of the command line, the SDK and the MCP server is one call on it."""

from __future__ import annotations

from pyro_mcp.core.chat_host_verbs import ChatHostVerbs
from pyro_mcp.core.environment_verbs import EnvironmentVerbs
from pyro_mcp.core.host_verbs import HostVerbs
from pyro_mcp.core.network_verbs import NetworkVerbs
from pyro_mcp.core.public_calls import public_calls
from pyro_mcp.core.session_verbs import SessionVerbs
from pyro_mcp.core.vm_verbs import VmVerbs
from pyro_mcp.core.workspace_verbs import WorkspaceVerbs


@public_calls
class Pyro(HostVerbs, EnvironmentVerbs, VmVerbs, WorkspaceVerbs, SessionVerbs, NetworkVerbs, ChatHostVerbs):
    """Disposable machines on this host.

    All state is in files below the XDG cache and state folders, or `cache` and `state` when given, so any
    number of these objects, in any number of processes, work on the same machines. Results are JSON-ready
    dictionaries, described in `pyro_mcp.results`. Where a method takes a `workspace_id`, a unique name will do. Every
    method raises only `pyro_mcp.errors.PyroError`; `progress` is called with what long work is doing.
    """
