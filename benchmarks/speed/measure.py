"""Take samples of every row, one place after the other in each round."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from benchmarks.speed import rows
from benchmarks.speed.places import Containers, ContainerWorker, Machines, MachineWorker, Place, Worker
from benchmarks.speed.programs import PROGRAMS
from benchmarks.speed.projects import BUILDS, SUITES, Project, outcome_of

_BULK_BYTES = 100_000_000
_MB = 1_000_000
_SLOW = "tcg"
"""It takes part in fewer rounds of what it takes ten times as long for."""

Step = Callable[[], object]


class Run:
    """One run over these places: `samples` is row → column → samples."""

    def __init__(self, places: Sequence[Place], projects: Path, *, quick: bool, say: Callable[[str], None]) -> None:
        self._places = places
        self._projects = projects
        self._quick = quick
        self._say = say
        self.samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.outcomes: dict[str, dict[str, str]] = defaultdict(dict)
        self.left_out: dict[str, str] = {}

    def lives(self) -> None:
        """Measure what Docker and each accelerator take to make, use and delete one or many."""
        machines = [one for one in self._places if isinstance(one, Machines)]
        containers = [one for one in self._places if isinstance(one, Containers)]
        starting: list[Containers | Machines] = [*containers, *machines]
        self._say("create, delete, the whole command")
        self._in_turn(15, {one.name: self._first_result(one) for one in starting})
        self._in_turn(7, {one.name: self._timed(rows.COMMAND, one, one.command_line) for one in starting})
        self._in_turn(7, {one.name: self._timed(rows.DELETE, one, one.removal) for one in containers})
        self._spares(containers, machines)
        self._say("exec, bulk")
        with ExitStack() as stack:
            warm = {one.name: stack.enter_context(self._stays(one)) for one in starting}
            for one in [*warm.values()] * 3:
                one.true()  # the first ones load programs
            self._in_turn(30, {name: self._exec(name, one) for name, one in warm.items()})
            self._in_turn(5, {name: self._bulk(name, one) for name, one in warm.items()})
        for count, title in rows.MANY.items():
            self._say(title)
            steps = {one.name: self._timed(title, one, self._many(one, count), 1) for one in starting}
            self._in_turn(3, steps)
        self._say("memory")
        self._in_turn(3, {one.name: self._timed(rows.MEMORY, one, one.idle_memory, 1 / _MB) for one in machines})

    def programs_and_projects(self) -> None:
        """Run the small programs and the projects in every place that stays."""
        self._say("the projects are copied into every place")
        with ExitStack() as stack:
            workers = {one.name: stack.enter_context(one.worker(self._projects)) for one in self._places}
            for name in PROGRAMS:
                self._say(name)
                self._in_turn(5, {place: self._program(place, one, name) for place, one in workers.items()}, slow=3)
            for project in (*SUITES, *BUILDS):
                self._say(project.title)
                self._in_turn(3, {place: self._project(place, one, project) for place, one in workers.items()}, slow=1)

    def _in_turn(self, rounds: int, steps: Mapping[str, Step], slow: int = 1000) -> None:
        """Call each step `rounds` times, all of them in each round; that of the slow column at most `slow` times."""
        for number in range(1 if self._quick else rounds):
            for name, step in steps.items():
                if name != _SLOW or number < slow:
                    step()

    def _timed(self, row: str, place: Place, step: Callable[[], float], factor: float = 1000) -> Step:
        """Return a step that keeps what `step` returns, times `factor`."""
        return lambda: self.samples[row][place.name].append(step() * factor)

    def _first_result(self, place: Containers | Machines) -> Step:
        def step() -> None:
            made, deleted = place.first_result()
            self.samples[rows.FIRST][place.name].append(made * 1000)
            if deleted:
                self.samples[rows.DELETE][place.name].append(deleted * 1000)

        return step

    def _many(self, place: Containers | Machines, count: int) -> Callable[[], float]:
        return lambda: place.many(count)

    def _spares(self, containers: Sequence[Containers], machines: Sequence[Machines]) -> None:
        """Measure creates that find a spare machine, beside `docker run`."""
        self._say("create with a spare there")
        able = [one for one in machines if one.awaits_spare()]
        if not able:
            self.left_out[rows.SPARE] = "no spare machine was made in time"
            return

        def beside_none_in_the_making(place: Place, step: Callable[[], float]) -> Step:
            timed = self._timed(rows.SPARE, place, step)

            def waited() -> None:
                if all(one.awaits_spare() for one in able):
                    timed()

            return waited

        steps = {one.name: beside_none_in_the_making(one, one.command_line) for one in containers}
        steps |= {one.name: beside_none_in_the_making(one, one.first_result_with_spare) for one in able}
        self._in_turn(15, steps)
        for one in able:
            one.remove_spares()

    def _stays(self, place: Containers | Machines) -> AbstractContextManager[ContainerWorker | MachineWorker]:
        return place.container() if isinstance(place, Containers) else place.machine()

    def _exec(self, name: str, worker: ContainerWorker | MachineWorker) -> Step:
        return lambda: self.samples[rows.EXEC][name].append(worker.true() * 1000)

    def _bulk(self, name: str, worker: ContainerWorker | MachineWorker) -> Step:
        def step() -> None:
            self.samples[rows.OUT][name].append(_BULK_BYTES / _MB / worker.output(_BULK_BYTES))
            self.samples[rows.INTO][name].append(_BULK_BYTES / _MB / worker.input(_BULK_BYTES))

        return step

    def _program(self, place: str, worker: Worker, name: str) -> Step:
        def step() -> None:
            started = time.perf_counter()
            said = float(worker.shell(f"python3 programs.py '{name}'"))
            took = (time.perf_counter() - started) * 1000
            if said > took:
                raise RuntimeError(f"the clock of {place} counts {said:.0f} ms where this host counts {took:.0f} ms")
            self.samples[name][place].append(said)

        return step

    def _project(self, place: str, worker: Worker, project: Project) -> Step:
        def step() -> None:
            worker.shell(project.before)
            started = time.perf_counter()
            output = worker.shell(project.command)
            self.samples[project.title][place].append(time.perf_counter() - started)
            self.outcomes[project.title][place] = outcome_of(project, output)

        return step
