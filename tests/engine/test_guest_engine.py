"""What the engine does when a machine does not boot on the chosen accelerator."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pyro_mcp.engine.guest.choice import Choice, Probe
from pyro_mcp.engine.guest.engine import GuestEngine
from pyro_mcp.engine.interface import Preparation, Shape, StartRequest, System, TemplateState
from pyro_mcp.engine.starter import NotBooted, Starter
from pyro_mcp.errors import GuestFailed, InvalidRequest
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.progress import Progress

SYSTEM = System(Path("/kernel"), "k", (), Path("/root"), "r")


@dataclass
class Recorder:
    """A starter whose machines boot on all accelerators but those of `broken`."""

    broken: dict[str, GuestFailed] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def start(self, request: StartRequest, system: System, progress: Progress) -> Identity:
        self.asked.append(request.accelerator)
        request.tap()
        if error := self.broken.get(request.accelerator):
            raise error
        return Identity(1, 1)

    def prepare(self, system: System, shape: Shape, accelerator: str, progress: Progress) -> Preparation:
        self.asked.append(accelerator)
        return Preparation(accelerator, 0.0, reused=False)

    def template_state(self, system: System, shape: Shape, accelerator: str) -> TemplateState:
        return "cold"

    def spare_key(self, system: System, shape: Shape, accelerator: str) -> str:
        return accelerator

    def remove_leftovers(self) -> None:
        pass

    def prune_templates(self) -> int:
        return 0

    def template_bytes(self) -> int:
        return 0


class Engine(GuestEngine):
    """Every accelerator is that of one recorder, and passes its probe."""

    def __init__(self, cache: Path, starter: Recorder) -> None:
        works = Probe(lambda: ["boot"], lambda: "")
        super().__init__(cache, Choice(cache, tried=("kvm", "uml"), probes={"kvm": works, "uml": works}))
        self.starter = starter

    def _starter(self, accelerator: str) -> Starter:
        return self.starter


@pytest.fixture(autouse=True)
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRO_ACCELERATOR", raising=False)


def request(folder: Path, accelerator: str = "auto", mem_mib: int = 1024) -> StartRequest:
    taps.clear()
    shape = Shape(mem_mib=mem_mib, network=True)
    return StartRequest(SYSTEM, shape, folder, folder, "name", 60.0, tap=tap, accelerator=accelerator)


taps: list[int] = []


def tap() -> int:
    taps.append(5)
    return 5


def test_a_machine_that_does_not_boot_is_started_on_the_next_accelerator_from_then_on(tmp_path: Path) -> None:
    starter = Recorder({"kvm": NotBooted("no answer"), "uml": NotBooted("no answer")})
    engine = Engine(tmp_path, starter)
    assert engine.start(request(tmp_path)).accelerator == "tcg"
    assert starter.asked == ["kvm", "uml", "tcg"]
    assert taps == [5]
    assert engine.start(request(tmp_path)).accelerator == "tcg"
    assert starter.asked[3:] == ["tcg"]
    assert "KVM did not boot a machine (no answer)" in engine.accelerator().reason


def test_a_machine_that_boots_nowhere_says_nothing_of_the_accelerators(tmp_path: Path) -> None:
    broken: dict[str, GuestFailed] = {
        name: NotBooted(f"the root is damaged, says {name}") for name in ("kvm", "uml", "tcg")
    }
    engine = Engine(tmp_path, Recorder(broken))
    with pytest.raises(GuestFailed, match="says kvm"):
        engine.start(request(tmp_path))
    assert engine.accelerator().name == "kvm"


def test_a_failure_after_the_boot_is_not_the_accelerators(tmp_path: Path) -> None:
    starter = Recorder({"kvm": GuestFailed("a layer is missing")})
    with pytest.raises(GuestFailed, match="a layer is missing"):
        Engine(tmp_path, starter).start(request(tmp_path))
    assert starter.asked == ["kvm"]


def test_a_requested_accelerator_is_never_replaced(tmp_path: Path) -> None:
    starter = Recorder({"uml": NotBooted("no answer")})
    with pytest.raises(GuestFailed, match="no answer"):
        Engine(tmp_path, starter).start(request(tmp_path, "uml"))
    assert starter.asked == ["uml"]


def test_one_engine_prepares_and_starts_on_several_accelerators(tmp_path: Path) -> None:
    engine = Engine(tmp_path, Recorder())
    prepared = [engine.prepare(SYSTEM, Shape(), accelerator=name).accelerator for name in ("tcg", "uml", "kvm", "auto")]
    assert prepared == ["tcg", "uml", "kvm", "kvm"]
    assert [engine.start(request(tmp_path, name)).accelerator for name in ("tcg", "uml")] == ["tcg", "uml"]


def test_more_memory_than_the_host_has_is_refused_before_anything_starts(tmp_path: Path) -> None:
    starter = Recorder()
    engine = Engine(tmp_path, starter)
    with pytest.raises(InvalidRequest, match="MiB of memory"):
        engine.start(request(tmp_path, mem_mib=262144))
    with pytest.raises(InvalidRequest, match="MiB of memory"):
        engine.prepare(SYSTEM, Shape(mem_mib=262144))
    assert starter.asked == []
