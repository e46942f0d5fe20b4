"""Which environments, and which builds of them, the machines of a state folder need.

A machine counts whether the database knows it or not: it may be adopted later. Where the database and the file in the
machine's folder differ, what either of them names is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyro_mcp.errors import Conflict
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.machines import MachineRows, MachineStore, rows_of
from pyro_mcp.workspaces.recovery import Recovery


@dataclass(frozen=True)
class EnvironmentsInUse:
    """The machines that use each environment, by its name, and the digests of the builds that disks lie upon."""

    users: dict[str, set[str]]
    digests: set[str]

    def include(self, rows: MachineRows) -> bool:
        """Add what a machine needs; False when its rows have values of other types than ours."""
        if not rows.tables["machines"]:
            return False
        name, id_ = rows.machine.get("environment"), rows.machine.get("id")
        snapshots = (row for row in rows.tables["snapshots"] if row.get("with_system"))
        digests = [row.get("root_digest") for row in (rows.machine, *snapshots)]
        if not isinstance(name, str) or not all(isinstance(digest, str | None) for digest in digests):
            return False
        self.users.setdefault(name, set()).add(str(id_))
        self.digests.update(digest for digest in digests if digest)
        return True


def environments_in_use(store: MachineStore, recovery: Recovery) -> EnvironmentsInUse:
    """Collect what every machine needs.

    Raises `Conflict` for a workspace that neither the database nor a readable record describes: it may need anything.
    """
    lost = recovery.unknown()  # before the records are read: a machine that is made meanwhile has one
    needs = EnvironmentsInUse({}, set())
    described = {id_ for id_ in store.files.ids() if (rows := store.files.read(id_)) and needs.include(rows)}
    known = store.all()
    with store.reading() as db:
        for record in known:
            needs.include(rows_of(db, record.id))
    for one in lost:
        folder = store.files.folder(one.id)
        if one.id not in described and folder.exists():
            raise Conflict(
                f"{folder} has no readable record: nobody knows which environment its disk needs",
                hint=Hint(
                    "{} removes the workspace with its files; then try again",
                    Verb("workspace delete", workspace_id=one.id),
                ),
            )
    return needs
