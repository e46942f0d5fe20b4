"""Choose the accelerator of a start: the requested one, or the fastest that works on this host.

A look at a device or a file is no proof: under some paravirtual hosts QEMU aborts with "failed to set MSR" although
/dev/kvm can be opened. So each accelerator is tried once per host boot, inside the cage, and the result is stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pyro_mcp.engine.accelerators import AUTO, requested
from pyro_mcp.engine.interface import Accelerator
from pyro_mcp.engine.qemu import kvm_circumstances, kvm_fault
from pyro_mcp.errors import HostNotReady, PyroError
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import locked, write_atomic

TRIED_BY_AUTO = ("kvm", "uml")
"""What "auto" tries, in this order, before it takes "tcg"."""
_PROBE_DEADLINE = 120.0
_NAMES = {"kvm": "KVM", "uml": "User-Mode Linux"}
_WORKS = {"kvm": "KVM works here", "uml": "a kernel that is a process of the host works here"}
_EMULATED = "QEMU emulates the processor"


@dataclass(frozen=True)
class Probe:
    """How one accelerator is tried. A stored result is valid while `circumstances` returns the same."""

    circumstances: Callable[[], list[str]]
    fault: Callable[[], str]
    """Returns why the accelerator does not work here, as a clause; "" if it does."""


@dataclass(frozen=True)
class Result:
    """Why an accelerator does not work, as a clause, "" if it does; and whether a probe showed it, or a machine."""

    fault: str
    by_probe: bool = True


class Choice:
    """The choice for one cache folder, where the results of the probes are stored."""

    def __init__(
        self, cache: Path, *, tried: Sequence[str] = TRIED_BY_AUTO, probes: Mapping[str, Probe] | None = None
    ) -> None:
        """`tried` is what "auto" tries, in this order, before it takes "tcg"; `probes` replaces the real ones."""
        self._cache = cache
        self._tried = tried
        self._probes = probes or {
            "kvm": Probe(kvm_circumstances, kvm_fault),
            "uml": Probe(_uml_circumstances, self._uml_fault),
        }

    def choose(self, wish: str = "") -> Accelerator:
        """Return the accelerator for `wish`; "" means that of `PYRO_ACCELERATOR`, else "auto".

        Raises `InvalidRequest` for an unknown name, and `HostNotReady` when the one requested does not work here.
        """
        name = requested(wish)
        if name == AUTO:
            return self._fastest()
        if fault := self.fault(name):
            raise HostNotReady(
                f"the accelerator {name} was requested, but {fault}",
                hint=Hint("{} says what to change; the accelerator auto takes one that works", Verb("doctor")),
            )
        return Accelerator(name, f"the accelerator {name} was requested")

    def fault(self, name: str) -> str:
        """Return why an accelerator does not work, as a clause, "" if it does; try again what failed before."""
        if name not in self._probes:
            return ""
        stored = self._stored(name)
        if stored is not None and not stored.fault:
            return ""
        fault = self._probes[name].fault()
        if stored is None or stored.by_probe:
            self._store(name, Result(fault))
        return fault

    def _uml_fault(self) -> str:
        from pyro_mcp.engine.uml import uml_fault  # noqa: PLC0415

        return uml_fault(self._cache)

    def remember_no_boot(self, name: str, error: PyroError) -> None:
        """Store that a machine did not boot on an accelerator: "auto" does not choose it until the host changes."""
        why = error.message.splitlines()[0]
        self._store(name, Result(f"{_NAMES[name]} did not boot a machine ({why})", by_probe=False))

    def forget(self, name: str) -> None:
        """Remove what is stored of an accelerator."""
        self._file(name).unlink(missing_ok=True)

    def _fastest(self) -> Accelerator:
        faults: list[str] = []
        for name in self._tried:
            fault = self._tried_once(name)
            if not fault:
                return Accelerator(name, ", but ".join([*faults, _WORKS[name]]))
            faults.append(fault)
        return Accelerator("tcg", f"{', and '.join(faults)}, so {_EMULATED}")

    def _tried_once(self, name: str) -> str:
        """Return what is stored of an accelerator; if nothing is, one process tries it and the others wait."""
        stored = self._stored(name)
        if stored is None:
            with locked(self._file(name).with_suffix(".lock"), deadline_seconds=_PROBE_DEADLINE, what="the probe"):
                stored = self._stored(name)
                if stored is None:
                    stored = Result(self._probes[name].fault())
                    self._store(name, stored)
        return stored.fault

    def _stored(self, name: str) -> Result | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self._file(name).read_text())
            if kept["circumstances"] == self._probes[name].circumstances():
                return Result(str(kept["fault"]), bool(kept["by_probe"]))
        return None

    def _store(self, name: str, result: Result) -> None:
        circumstances = self._probes[name].circumstances()
        write_atomic(self._file(name), json.dumps({"circumstances": circumstances, **asdict(result)}))

    def _file(self, name: str) -> Path:
        return self._cache / f"accelerator-{name}.json"


def _uml_circumstances() -> list[str]:
    from pyro_mcp.engine.uml import uml_circumstances  # noqa: PLC0415 - few processes start a machine

    return uml_circumstances()
