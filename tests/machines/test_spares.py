"""Spare machines over a fake engine: who gets one, when there is none, and what is left of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.engine.interface import Shape, StartRequest
from pyro_mcp.errors import Busy, GuestGone, InvalidRequest
from pyro_mcp.host.files import locked, private_directory
from pyro_mcp.machines import spares as module
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.machine_store import MachineRecord
from pyro_mcp.machines.phases import Phase
from pyro_mcp.machines.spares import VARIABLE, Order, Spares, has_memory
from tests.machines.conftest import IMAGE, start, system_for
from tests.waiting import until

ORDER = Order("debian:12", IMAGE.digest, 1, 1024, "")
SYSTEM = system_for(IMAGE)


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "600")


@pytest.fixture
def spares(home: Path) -> Spares:
    """The spares of a state folder in which a machine was started."""
    return Spares(private_directory(home / "spares"))


@pytest.fixture
def starter() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def spare(spares: Spares, engine: FakeEngine, starter: Executor, home: Path) -> Path:
    """The folder of a spare that is ready."""
    spares.make(engine, SYSTEM, ORDER, starter)
    (folder,) = (home / "spares").glob("sp-*/")
    return folder


def request(home: Path, name: str = "vm-1", **options: object) -> StartRequest:
    folder = home / name
    folder.mkdir()
    asked = StartRequest(
        system=SYSTEM, shape=Shape(), home=folder, sockets=folder / "sockets", hostname=name, lifetime_seconds=60
    )
    return replace(asked, **options)  # type: ignore[arg-type]


def left(home: Path) -> list[str]:
    """The files of spares that are on the disk, but for the locks of all."""
    return sorted(path.name for path in (home / "spares").iterdir() if not path.name.startswith("."))


@pytest.mark.usefixtures("spare")
def test_a_machine_takes_the_spare_and_nothing_is_left_of_it(spares: Spares, engine: FakeEngine, home: Path) -> None:
    identity = next(iter(engine.running.values()))
    asked = request(home)
    assert spares.start(engine, asked, ORDER).identity == identity
    assert (engine.claimed, len(engine.started), engine.running) == ([asked], 1, {asked.sockets: identity})
    assert left(home) == []


def test_without_a_spare_a_machine_is_started_from_the_beginning(
    spares: Spares, engine: FakeEngine, home: Path
) -> None:
    spares.start(engine, asked := request(home), ORDER)
    assert (engine.started, engine.claimed) == ([asked], [])


@pytest.mark.usefixtures("spare")
def test_a_spare_is_taken_once(spares: Spares, engine: FakeEngine, home: Path) -> None:
    spares.start(engine, request(home), ORDER)
    spares.start(engine, second := request(home, "vm-2"), ORDER)
    assert (len(engine.claimed), engine.started[1:]) == (1, [second])


@pytest.mark.usefixtures("spare")
def test_of_eight_clients_at_once_one_gets_the_spare(spares: Spares, engine: FakeEngine, home: Path) -> None:
    requests = [request(home, f"vm-{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda asked: spares.start(engine, asked, ORDER), requests))
    assert len(engine.claimed) == 1
    assert len(engine.started) == 1 + 7
    assert set(engine.running) == {asked.sockets for asked in requests}


def test_a_spare_that_somebody_works_on_is_not_taken(
    spares: Spares, engine: FakeEngine, home: Path, spare: Path
) -> None:
    with locked(spare.with_name(f"{spare.name}.lock"), deadline_seconds=0):
        spares.start(engine, request(home), ORDER)
    assert (engine.claimed, spare.exists()) == ([], True)


@pytest.mark.parametrize("error", [GuestGone("it is dead"), OSError("no room")])
def test_a_spare_that_fails_is_replaced_by_a_start_from_the_beginning(
    spares: Spares, engine: FakeEngine, home: Path, spare: Path, error: Exception
) -> None:
    engine.failures["claim"] = error
    asked = request(home)
    assert spares.start(engine, asked, ORDER).identity == engine.running[asked.sockets]
    assert (engine.started[1:], left(home), spare.exists()) == ([asked], [], False)


@pytest.mark.usefixtures("spare")
def test_a_spare_that_has_ended_is_removed_and_not_taken(spares: Spares, engine: FakeEngine, home: Path) -> None:
    engine.running.clear()
    spares.start(engine, request(home), ORDER)
    assert (engine.claimed, left(home)) == ([], [])


@pytest.mark.usefixtures("spare")
@pytest.mark.parametrize(
    "changes",
    [
        {"system": replace(SYSTEM, root_digest="sha256:newer")},
        {"shape": Shape(2)},
        {"shape": Shape(mem_mib=2048)},
        {"shape": Shape(network=True)},
    ],
)
def test_a_spare_of_another_image_or_shape_is_not_taken(
    spares: Spares, engine: FakeEngine, home: Path, changes: dict[str, object]
) -> None:
    spares.start(engine, replace(request(home), **changes), ORDER)  # type: ignore[arg-type]
    assert engine.claimed == []


@pytest.mark.usefixtures("spare")
def test_a_spare_is_not_taken_when_the_variable_is_0(
    spares: Spares, engine: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    spares.start(engine, request(home), ORDER)
    assert engine.claimed == []


def test_no_spare_is_made_when_the_variable_is_0(
    spares: Spares, engine: FakeEngine, starter: Executor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    spares.make(engine, SYSTEM, ORDER, starter)
    assert (engine.started, left(home)) == ([], [])


@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf", "86401"])
def test_a_lifetime_that_is_none_is_refused(
    spares: Spares, engine: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InvalidRequest, match=VARIABLE):
        spares.start(engine, request(home), ORDER)


def test_a_spare_lives_as_long_as_the_variable_says(
    spares: Spares, engine: FakeEngine, starter: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "30")
    spares.make(engine, SYSTEM, ORDER, starter)
    assert engine.started[0].lifetime_seconds == 30
    assert 20 < spares.listed(engine)[0].seconds_left <= 30


def rewrite(spare: Path, **changes: object) -> None:
    record = spare / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))


def test_a_spare_whose_time_is_over_is_removed_and_not_taken(
    spares: Spares, engine: FakeEngine, home: Path, spare: Path
) -> None:
    rewrite(spare, ends_at=1.0)
    spares.start(engine, request(home), ORDER)
    assert engine.claimed == []
    spares.remove_leftovers(engine)
    assert left(home) == []


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"key": 1}', '{"key": "k", "order": {"x": 1}}'])
def test_a_spare_with_a_damaged_record_is_ended_and_removed(
    spares: Spares, engine: FakeEngine, home: Path, spare: Path, record: str
) -> None:
    (spare / "record.json").write_text(record)
    spares.start(engine, request(home), ORDER)
    assert engine.claimed == []
    spares.remove_leftovers(engine)
    assert (left(home), engine.ended) == ([], [spare / "sockets"])


def test_a_good_spare_survives_a_repair_and_not_a_reap(
    spares: Spares, engine: FakeEngine, home: Path, spare: Path
) -> None:
    spares.remove_leftovers(engine)
    assert spare.exists()
    spares.remove_leftovers(engine, everything=True)
    assert (left(home), engine.running) == ([], {})


def test_what_a_dead_process_left_is_removed(spares: Spares, engine: FakeEngine, home: Path, spare: Path) -> None:
    (spare / "record.json").unlink()
    (home / "spares/sp-123.lock").touch()
    spares.remove_leftovers(engine)
    assert (left(home), engine.running) == ([], {})


def test_a_spare_that_is_being_made_is_left_alone(spares: Spares, engine: FakeEngine, spare: Path) -> None:
    (spare / "record.json").unlink()
    with locked(spare.with_name(f"{spare.name}.lock"), deadline_seconds=0):
        spares.remove_leftovers(engine, everything=True)
    assert spare.exists()


def test_processes_that_are_a_machines_by_now_are_not_ended_with_the_rest_of_the_spare(
    spares: Spares, engine: FakeEngine, home: Path, spare: Path
) -> None:
    (spare / "record.json").unlink()
    engine.claim(spare, engine.running[spare / "sockets"], asked := request(home))
    spares.remove_leftovers(engine)
    assert (left(home), list(engine.running)) == ([], [asked.sockets])


def test_there_is_one_spare_of_a_kind(spares: Spares, engine: FakeEngine, starter: Executor, home: Path) -> None:
    for _ in range(2):
        spares.make(engine, SYSTEM, ORDER, starter)
    assert len(engine.running) == len(list((home / "spares").glob("sp-*/"))) == 1


def test_an_outdated_spare_makes_room_for_the_new_one(
    spares: Spares, engine: FakeEngine, starter: Executor, spare: Path
) -> None:
    rewrite(spare, key="former")
    spares.make(engine, SYSTEM, ORDER, starter)
    assert (spare.exists(), len(spares.listed(engine))) == (False, 1)


def test_there_are_at_most_four_spares_and_the_oldest_go(spares: Spares, engine: FakeEngine, starter: Executor) -> None:
    orders = [Order("debian:12", IMAGE.digest, 1, mem_mib, "") for mem_mib in range(512, 518)]
    for order in orders:
        spares.make(engine, SYSTEM, order, starter)
    assert {one.order for one in spares.listed(engine)} == set(orders[2:])


def test_a_spare_that_does_not_boot_leaves_nothing(
    spares: Spares, engine: FakeEngine, starter: Executor, home: Path
) -> None:
    engine.failures["start"] = GuestGone("it is dead")
    with pytest.raises(GuestGone):
        spares.make(engine, SYSTEM, ORDER, starter)
    assert left(home) == []


def test_no_spare_is_made_while_a_machine_is_being_started(
    spares: Spares, engine: FakeEngine, starter: Executor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0)
    spares.make(engine, SYSTEM, ORDER, starter)
    spares.remove_leftovers(engine, everything=True)
    with locked(home / "spares/.starting", deadline_seconds=0, shared=True), pytest.raises(Busy):
        spares.make(engine, SYSTEM, ORDER, starter)
    assert left(home) == []


def test_short_memory_makes_no_spare_and_ends_those_that_are_there(
    spares: Spares, engine: FakeEngine, starter: Executor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spares.make(engine, SYSTEM, ORDER, starter)
    (home / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 1500000 kB\n")
    monkeypatch.setattr(module, "_MEMORY_INFO", home / "meminfo")
    spares.remove_leftovers(engine)
    assert left(home) == []
    spares.make(engine, SYSTEM, ORDER, starter)
    assert (len(engine.started), left(home)) == (1, [])


@pytest.mark.parametrize(
    ("total", "available", "mem_mib", "enough"),
    [(16, 12, 1024, True), (16, 4, 1024, False), (2, 1.9, 512, True), (2, 1.4, 512, False), (64, 60, 50 * 1024, False)],
)
def test_a_fifth_of_the_memory_and_a_gibibyte_stay_free(
    home: Path, monkeypatch: pytest.MonkeyPatch, total: float, available: float, mem_mib: int, *, enough: bool
) -> None:
    info = home / "meminfo"
    info.write_text(
        f"MemTotal: {int(total * 2**20)} kB\nMemAvailable: {int(available * 2**20)} kB\nHugePages_Total: 0\n"
    )
    monkeypatch.setattr(module, "_MEMORY_INFO", info)
    assert has_memory(mem_mib) == enough


def note(home: Path) -> tuple[Path, list[str]]:
    """A file, and a command that appends its last argument to it."""
    written = home / "orders"
    return written, [sys.executable, "-c", f"import sys; open({str(written)!r}, 'a').write(sys.argv[1] + '\\n')"]


def test_a_start_lets_a_process_of_its_own_make_a_spare_of_the_same_kind(engine: FakeEngine, home: Path) -> None:
    written, maker = note(home)
    Spares(home / "spares", maker).start(engine, request(home), ORDER)
    (line,) = until("the order is there", lambda: written.exists() and written.read_text().splitlines(), bool) or []
    assert Order(**json.loads(line)) == ORDER


def test_a_start_orders_nothing_while_a_spare_is_there_or_is_being_made(
    engine: FakeEngine, starter: Executor, home: Path
) -> None:
    written, maker = note(home)
    spares = Spares(private_directory(home / "spares"), maker)
    spares.make(engine, SYSTEM, ORDER, starter)
    spares.make(engine, SYSTEM, other := replace(ORDER, vcpu_count=2), starter)
    spares.start(engine, request(home), ORDER)
    line = until("the order is there", lambda: written.exists() and written.read_text(), bool)
    assert Order(**json.loads(str(line))) == ORDER
    until("its process has ended", lambda: _is_free(home / "spares/.making"), bool)
    spares.make(engine, SYSTEM, ORDER, starter)
    spares.start(engine, request(home, "vm-2", shape=Shape(2)), other)
    until("its process has ended", lambda: _is_free(home / "spares/.making"), bool)
    assert len(written.read_text().splitlines()) == 2
    with locked(home / "spares/.making", deadline_seconds=0):
        spares.start(engine, request(home, "vm-3"), ORDER)
        spares.start(engine, request(home, "vm-4"), ORDER)
    assert len(written.read_text().splitlines()) == 2


def _is_free(lock: Path) -> bool:
    try:
        with locked(lock, deadline_seconds=0):
            return True
    except Busy:
        return False


def test_what_went_wrong_in_the_background_can_be_read(engine: FakeEngine, home: Path) -> None:
    spares = Spares(home / "spares", [sys.executable, "-c", "import sys; sys.exit('no kernel')"])
    assert spares.failure() == ""
    spares.start(engine, request(home), ORDER)
    assert until("the failure is there", spares.failure, bool) == "no kernel"


def with_spares(lifecycle: Lifecycle, home: Path) -> Lifecycle:
    return replace(lifecycle, spares=Spares(home / "spares"))


@pytest.mark.usefixtures("spare")
def test_a_new_machine_and_one_that_is_reset_take_a_spare(
    lifecycle: Lifecycle, engine: FakeEngine, spares: Spares, starter: Executor, home: Path
) -> None:
    lifecycle = with_spares(lifecycle, home)
    record: MachineRecord = start(lifecycle)
    assert (record.phase, engine.claimed[0].hostname) == (Phase.RUNNING, record.id)
    spares.make(engine, SYSTEM, ORDER, starter)
    with lifecycle.lock_turnstile(record.id) as held:
        again = lifecycle.reset(held, IMAGE, ())
    assert (again.phase, len(engine.claimed), len(engine.started)) == (Phase.RUNNING, 2, 2)
    assert engine.claimed[1].layers == again.layers
    assert engine.running == {lifecycle.folders.sockets(record.id): again.identity}
    assert left(home) == []
