"""Copy the files of a machine's system into a layer, without what belongs to this machine alone."""

from __future__ import annotations

from collections.abc import Callable

from pyro_mcp.engine import Connection
from pyro_mcp.environments import LayerEntry, LayerWriter
from pyro_mcp.errors import Conflict, EnvironmentFailed
from pyro_mcp.guest_protocol.tree_stream import TreeEntry
from pyro_mcp.host.progress import Progress
from pyro_mcp.machines import Secrets
from pyro_mcp.network import CA_LISTS, GuestCA, is_our_ca_file
from pyro_mcp.redaction import Mask
from pyro_mcp.trees import GuestTree
from pyro_mcp.workspaces.access import ToolOf

ROOT = "/root"
"""The guest path of a machine's merged root, as the agent mounts it."""
SHORTEST_SECRET = 6
"""The least length, in characters, of a secret that is searched in files: shorter ones occur by chance."""
_MOUNTED_OVER = frozenset({b"dev", b"proc", b"run", b"sys", b"tmp", b"workspace"})
# The agent writes them anew at each start.
_OF_ONE_MACHINE = frozenset({"/etc/hostname", "/etc/machine-id", "/var/lib/dbus/machine-id"})
_INSTEAD = {"/etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n", "/etc/resolv.conf": b""}
_LARGEST_LIST = 8 * 1024 * 1024
_STEP = 16 * 1024 * 1024
_MOST_NAMED = 10


def system_tree(connection: Connection) -> GuestTree:
    """Return the tree of a machine's whole root."""
    return GuestTree(ToolOf(connection), merged=ROOT, top="/")


def stream_system(
    connection: Connection, secrets: Secrets, trust: GuestCA, layer: LayerWriter, progress: Progress
) -> None:
    """Write a machine's root, without /workspace, what is mounted in it and the certificates of `trust`, to `layer`.

    Raises `Conflict` when a file holds the value of one of its secrets, and `EnvironmentFailed` for too large a system.
    """
    receiver = _System(secrets, trust, layer, progress)
    system_tree(connection).walk(receiver, [b""], content=None, owners=True)
    receiver.finish()


class _System:
    """The receiver that writes a walk to a layer; it holds in memory only the few files that it changes."""

    def __init__(self, secrets: Secrets, trust: GuestCA, layer: LayerWriter, progress: Progress) -> None:
        self._layer = layer
        self._progress = progress
        self._trust = trust
        self._mask = Mask({one.name: one.value for one in secrets.all() if len(one.value) >= SHORTEST_SECRET})
        self._leaks: dict[str, None] = {}
        self._shown = 0
        self._entry: TreeEntry | None = None
        self._change: Callable[[bytes], bytes] | None = None
        self._kept = bytearray()
        self._tail = b""

    def entry(self, entry: TreeEntry) -> None:
        path = "/" + entry.path.decode(errors="surrogateescape")
        self._entry, self._change, self._tail = None, None, b""
        if _is_left_out(entry, path):
            return
        self._entry = entry
        if entry.kind == "f" and (path in _INSTEAD or path in CA_LISTS):
            if entry.size > _LARGEST_LIST:
                raise EnvironmentFailed(f"{path} is too large to be what its name says", hint="remove it")
            self._change = _change_of(path, self._trust)
            self._kept.clear()
            return
        self._layer.begin(_member(entry))

    def data(self, piece: bytes) -> None:
        if self._entry is None:
            return
        self._look_for_secrets(piece)
        if self._change is None:
            self._layer.data(piece)
        else:
            self._kept += piece

    def file_end(self) -> None:
        if self._entry is None:
            return
        if self._change is not None:
            content = self._change(bytes(self._kept))
            self._layer.begin(_member(self._entry, size=len(content)))
            self._layer.data(content)
            self._layer.end(len(content))
        else:
            self._layer.end(self._entry.size)
        if self._layer.size_bytes - self._shown >= _STEP:
            self._shown = self._layer.size_bytes
            self._progress(f"copying the system: {self._shown >> 20} MiB", None)

    def finish(self) -> None:
        if self._leaks:
            named = list(self._leaks)[:_MOST_NAMED]
            raise Conflict(
                f"files of the system hold the values of secrets: {', '.join(named)}",
                hint="remove them from the workspace, then save it again",
            )

    def _look_for_secrets(self, piece: bytes) -> None:
        if not self._mask or self._entry is None:
            return
        data = self._tail + piece
        if self._mask.spans(data):
            self._leaks["/" + self._entry.path.decode(errors="backslashreplace")] = None
        self._tail = data[-self._mask.reach :]


def _is_left_out(entry: TreeEntry, path: str) -> bool:
    top, _, below = entry.path.partition(b"/")
    return (top in _MOUNTED_OVER and bool(below)) or path in _OF_ONE_MACHINE or is_our_ca_file(path)


def _change_of(path: str, ca: GuestCA) -> Callable[[bytes], bytes]:
    if path in _INSTEAD:
        return lambda _: _INSTEAD[path]
    return ca.without


def _member(entry: TreeEntry, size: int | None = None) -> LayerEntry:
    return LayerEntry(
        entry.path,
        entry.kind,
        entry.mode,
        entry.size if size is None else size,
        entry.mtime_ns,
        entry.uid,
        entry.gid,
        entry.target,
        entry.capability,
        entry.links if size is None else 1,
        entry.inode,
    )
