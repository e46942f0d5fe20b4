"""The subscription of an agent: what it puts into the mailbox, after a loss, a rename and a restored backup."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moot.mailbox.mailbox import Mailbox
from tests.moot.adapters.team import Team, team
from tests.moot.server.running import moot, until_state
from tests.waiting import until


@contextmanager
def inbox(found: Team, role: str) -> Iterator[Mailbox]:
    """Yield the mailbox of a role while a process of its adapters runs, which is killed afterwards."""
    words = [sys.executable, "-P", "-m", "moot.adapters.mcp_runner"]
    environment = found.environment(role)
    mailbox = Mailbox(found.run_folder(role) / "mailbox.db")
    with subprocess.Popen(words, cwd=found.project, env=environment, stdin=subprocess.PIPE) as process:
        try:
            yield mailbox
        finally:
            process.kill()
            mailbox.close()


def arrived(mailbox: Mailbox, event: dict[str, str]) -> None:
    until("the message is in the mailbox", lambda: mailbox.is_here(event["event_id"]))


def waiting(mailbox: Mailbox) -> list[str]:
    """Return the texts of the messages that the agent gets next."""
    offer = mailbox.claim("hook")
    return [] if offer is None else [one.text for one in offer.messages]


def test_a_lost_mailbox_is_filled_with_what_was_not_acknowledged(workshop: Team) -> None:
    with inbox(workshop, "qa") as mailbox:
        unread = workshop.post("person", "unread", to=["qa"])
        read = workshop.post("person", "read", to=["qa"])
        arrived(mailbox, read)
        mailbox.seen([read["event_id"]])
        until_state(workshop.server.person, workshop.space, read, workshop.ids["qa"], "acknowledged")
    for file in workshop.run_folder("qa").glob("mailbox.db*"):
        file.unlink()
    with inbox(workshop, "qa") as mailbox:
        arrived(mailbox, unread)
        arrived(mailbox, read)
        assert waiting(mailbox) == ["unread"]


def test_a_mention_by_a_new_name_arrives(workshop: Team) -> None:
    with inbox(workshop, "spec") as mailbox:
        arrived(mailbox, workshop.post("person", "@Spec before"))
        path = f"/api/actors/{workshop.ids['spec']}"
        assert workshop.server.person.call("PATCH", path, {"display_name": "Checker"}).status == 200
        arrived(mailbox, workshop.post("person", "@Checker after"))


def test_messages_after_a_restored_backup_arrive(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with team(tmp_path) as found:
        with inbox(found, "qa") as mailbox:
            arrived(mailbox, found.post("person", "before the backup", to=["qa"]))
            assert moot("server", "backup", str(backup), *found.server.place).returncode == 0
            arrived(mailbox, found.post("person", "lost by the backup", to=["qa"]))
            last = [found.post("person", f"lost {number}") for number in range(3)][-1]
            until(
                "the place",
                lambda: mailbox.place(found.space),
                lambda at: at is not None and at.event_id == last["event_id"],
            )
        found.server.stop()
        assert moot("server", "restore", str(backup), *found.server.place).returncode == 0
        found.server.start()
        new = [found.post("person", f"after the restore {number}", to=["qa"]) for number in range(6)]
        assert new[-1]["sequence"] > last["sequence"]
        with inbox(found, "qa") as mailbox:
            arrived(mailbox, new[-1])
            assert waiting(mailbox) == [
                *("before the backup", "lost by the backup"),
                *(f"after the restore {number}" for number in range(6)),
            ]
