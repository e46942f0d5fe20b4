"""Commands of machines: watched while they run, and told with the true end of their output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyro_mcp.mcp_server.bounds import LONGEST_FIELD
from pyro_mcp.mcp_server.tool import Call

_HEAD = LONGEST_FIELD // 3
_TAIL = LONGEST_FIELD - _HEAD - 100  # what stands between them has room too


def run(call: Call, command: Callable[..., Mapping[str, Any]]) -> dict[str, Any]:
    """Return the result of an SDK call that runs a command; output that is too long keeps its beginning and its end."""
    ends = {"stdout": _End(call), "stderr": _End(call)}
    result = dict(command(on_stdout=ends["stdout"].take, on_stderr=ends["stderr"].take, interrupt=call.interrupt))
    for name, end in ends.items():
        if len(result[name]) > LONGEST_FIELD:
            tail = end.text()
            left_out = result[f"{name}_bytes"] - _HEAD - len(tail)
            result[name] = f"{result[name][:_HEAD]}\n[… about {left_out} bytes left out …]\n{tail}"
            result["truncated"] = True
    return result


class _End:
    """Keeps the last bytes of a stream."""

    def __init__(self, call: Call) -> None:
        self._kept = bytearray()
        self._also = call.on_output

    def take(self, data: bytes) -> None:
        self._kept += data[-_TAIL:]
        if len(self._kept) > 2 * _TAIL:
            del self._kept[:-_TAIL]
        if self._also is not None:
            self._also(data)

    def text(self) -> str:
        return self._kept[-_TAIL:].decode(errors="replace")
