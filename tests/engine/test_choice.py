"""Which accelerator runs a machine: the requested one, or the fastest that works."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pyro_mcp.engine.accelerators import REQUESTABLE
from pyro_mcp.engine.guest.choice import Choice, Probe
from pyro_mcp.errors import GuestFailed, HostNotReady, InvalidRequest
from pyro_mcp.serving import ACCELERATORS

ORDER = ("kvm", "uml")
NO_KVM, NO_UML = "this machine has no /dev/kvm", "User-Mode Linux does not work here (bwrap: no namespaces)"


@dataclass
class Host:
    """A host on which accelerators work or not, and how often each was tried."""

    faults: dict[str, str]
    boot: str = "first"
    tried: list[str] = field(default_factory=list)

    def probe(self, name: str) -> Probe:
        def fault() -> str:
            self.tried.append(name)
            return self.faults[name]

        return Probe(lambda: [self.boot], fault)

    def choice(self, cache: Path) -> Choice:
        return Choice(cache, tried=ORDER, probes={name: self.probe(name) for name in ORDER})


@pytest.fixture(autouse=True)
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRO_ACCELERATOR", raising=False)


@pytest.mark.parametrize(
    ("kvm", "uml", "chosen", "reason"),
    [
        ("", "", "kvm", "KVM works here"),
        ("", NO_UML, "kvm", "KVM works here"),
        (NO_KVM, "", "uml", f"{NO_KVM}, but a kernel that is a process of the host works here"),
        (NO_KVM, NO_UML, "tcg", f"{NO_KVM}, and {NO_UML}, so QEMU emulates the processor"),
    ],
)
def test_auto_is_the_fastest_that_works(tmp_path: Path, kvm: str, uml: str, chosen: str, reason: str) -> None:
    found = Host({"kvm": kvm, "uml": uml}).choice(tmp_path).choose("auto")
    assert (found.name, found.reason) == (chosen, reason)


@pytest.mark.parametrize(("wish", "default", "chosen"), [
    ("tcg", "uml", "tcg"), ("", "uml", "uml"), ("", "tcg", "tcg"), ("", "auto", "kvm"), ("", "", "kvm"),
    ("auto", "uml", "kvm"),
])  # fmt: skip
def test_a_request_counts_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str, default: str, chosen: str
) -> None:
    monkeypatch.setenv("PYRO_ACCELERATOR", default)
    assert Host({"kvm": "", "uml": ""}).choice(tmp_path).choose(wish).name == chosen


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Host({"kvm": "", "uml": ""}).choice(tmp_path)
    with pytest.raises(InvalidRequest, match="'warp'") as asked:
        choice.choose("warp")
    monkeypatch.setenv("PYRO_ACCELERATOR", "warp")
    with pytest.raises(InvalidRequest, match="PYRO_ACCELERATOR is 'warp'") as inherited:
        choice.choose()
    assert all("auto, kvm, uml, tcg" in error.value.hint for error in (asked, inherited))
    assert REQUESTABLE == ACCELERATORS


def test_each_accelerator_is_tried_once_until_the_host_changes(tmp_path: Path) -> None:
    host = Host({"kvm": NO_KVM, "uml": ""})
    assert [host.choice(tmp_path).choose().name for _ in range(3)] == ["uml"] * 3
    assert host.tried == ["kvm", "uml"]
    host.boot, host.faults["kvm"] = "second", ""
    assert host.choice(tmp_path).choose().name == "kvm"
    assert host.tried == ["kvm", "uml", "kvm"]


def test_a_requested_accelerator_that_does_not_work_is_an_error_until_it_is_repaired(tmp_path: Path) -> None:
    host = Host({"kvm": NO_KVM, "uml": NO_UML})
    choice = host.choice(tmp_path)
    assert choice.choose("auto").name == "tcg"
    with pytest.raises(HostNotReady, match="uml was requested, but User-Mode Linux does not work") as error:
        choice.choose("uml")
    assert "doctor" in error.value.hint and "auto" in error.value.hint
    host.faults["uml"] = ""
    assert choice.choose("uml").name == "uml"
    assert choice.choose("auto").name == "uml"


def test_an_accelerator_on_which_a_machine_did_not_boot_is_not_chosen_again(tmp_path: Path) -> None:
    host = Host({"kvm": "", "uml": ""})
    choice = host.choice(tmp_path)
    choice.remember_no_boot("kvm", GuestFailed("the agent did not answer\nlong output"))
    found = choice.choose("auto")
    assert (found.name, found.reason.split(",")[0]) == ("uml", "KVM did not boot a machine (the agent did not answer)")
    assert choice.choose("kvm").name == "kvm"  # its probe works
    assert choice.choose("auto").name == "uml"
    choice.forget("kvm")
    assert choice.choose("auto").name == "kvm"


def test_tcg_needs_no_probe(tmp_path: Path) -> None:
    host = Host({"kvm": "", "uml": ""})
    assert host.choice(tmp_path).choose("tcg").name == "tcg"
    assert host.tried == []
