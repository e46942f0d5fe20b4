"""Choose the accelerator of a start: the requested one, or the fastest that works on this host.

A look at a device or a file is no proof: under some paravirtual hosts QEMU aborts with "failed to set MSR" although
/dev/kvm can be opened. So each accelerator is tried once per host boot, inside the cage, and the result is stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.engine.accelerators import AUTO, requested
from pyro_mcp.engine.interface import Accelerator
from pyro_mcp.engine.qemu import kvm_circumstances, kvm_fault
from pyro_mcp.errors import HostNotReady, PyroError
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import write_atomic

_NAMES = {"kvm": "KVM", "uml": "User-Mode Linux"}
_REASONS = {
    "kvm": "KVM works here",
    "tcg": "QEMU emulates the processor",
}


@dataclass(frozen=True)
class Probe:
    """How one accelerator is tried. A stored result is valid while `circumstances` returns the same."""

    circumstances: Callable[[], list[str]]
    fault: Callable[[], str]
    """Returns why the accelerator does not work here, as a clause; "" if it does."""


class Choice:
    """The choice for one cache folder, where the results of the probes are stored."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._probes = {"kvm": Probe(kvm_circumstances, kvm_fault)}

    def choose(self, wish: str = "") -> Accelerator:
        """Return the accelerator for `wish`; "" means that of `PYRO_ACCELERATOR`, else "auto".

        Raises `InvalidRequest` for an unknown name, and `HostNotReady` when the one requested does not work here.
        """
        name = requested(wish)
        if name == AUTO:
            return self._fastest()
        if fault := self._fault_of_requested(name):
            raise HostNotReady(
                f"the accelerator {name} was requested, but {fault}",
                hint=Hint("{} shows what is missing; the accelerator auto takes one that works", Verb("doctor")),
            )
        return Accelerator(name, f"{name} was requested")

    def remember_no_boot(self, name: str, error: PyroError) -> None:
        """Store that a machine did not boot on an accelerator: "auto" does not choose it until the host changes."""
        self._store(name, f"{_NAMES[name]} did not boot a machine ({error.message.splitlines()[0]})")

    def forget(self, name: str) -> None:
        """Remove what is stored of an accelerator."""
        self._file(name).unlink(missing_ok=True)

    def _store(self, name: str, fault: str) -> None:
        circumstances = self._probes[name].circumstances()
        write_atomic(self._file(name), json.dumps({"circumstances": circumstances, "fault": fault}))

    def _fastest(self) -> Accelerator:
        faults = []
        for name in self._probes:
            fault = self._stored(name)
            if fault is None:
                fault = self._probes[name].fault()
                self._store(name, fault)
            if not fault:
                return Accelerator(name, _REASONS[name])
            faults.append(fault)
        return Accelerator("tcg", f"{', and '.join(faults)}, so {_REASONS['tcg']}")

    def _fault_of_requested(self, name: str) -> str:
        """Try it again if it failed before: what was wrong may have been changed since."""
        if name not in self._probes:
            return ""
        stored = self._stored(name)
        fault = self._probes[name].fault() if stored != "" else ""
        if stored is None:
            self._store(name, fault)
        return fault

    def _stored(self, name: str) -> str | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self._file(name).read_text())
            if kept["circumstances"] == self._probes[name].circumstances():
                return str(kept["fault"])
        return None

    def _file(self, name: str) -> Path:
        return self._cache / f"accelerator-{name}.json"
