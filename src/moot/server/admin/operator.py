"""What an operator with access to the data of a server may do, one method for each verb of `moot server`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moot.server.admin import accounts, backups, templates, tenants
from moot.server.admin.accounts import NewUser
from moot.server.admin.checks import Check, checks
from moot.server.admin.tenants import Tenant
from moot.server.database.database import Database
from moot.server.events import pruning
from moot.server.results import Installation, NewPersonalToken, PersonalToken, Space
from moot.server.settings import DATABASE_FILE, Settings
from moot.server.spaces import spaces
from pyro_mcp.errors import InvalidRequest, NotFound


@dataclass(frozen=True)
class Operator:
    """The data of a server that has been started at least once, whether it runs now or not.

    `user` is the id or the name of a person; it may be None when there is only one. All methods raise `NotFound`
    when there is no database.
    """

    settings: Settings

    def add_user(self, name: str, *, tenant_id: str | None, template: str) -> NewUser:
        """Make a person with a token, a space and agents."""
        with self._database() as database:
            return database.write(lambda tx: accounts.add_user(tx, name, tenant_id=tenant_id, template=template))

    def create_token(self, user: str | None, name: str, *, expires_in_days: int | None) -> NewPersonalToken:
        """Make a token for a person."""
        with self._database() as database:
            return database.write(lambda tx: accounts.create_token(tx, user, name, expires_in_days=expires_in_days))

    def tokens(self, user: str | None) -> list[PersonalToken]:
        """Return the tokens of a person."""
        with self._database() as database:
            return database.read(lambda tx: accounts.tokens(tx, user))

    def revoke_token(self, token_id: str) -> None:
        """Make a token invalid."""
        with self._database() as database:
            database.write(lambda tx: accounts.revoke_token(tx, token_id))

    def install(self, template: str, user: str | None, *, space_name: str | None) -> Installation:
        """Make a space with the agents of a template."""
        with self._database() as database:
            return database.write(
                lambda tx: templates.install(tx, accounts.person(tx, user), template, space_name=space_name)
            )

    def tenants(self) -> list[Tenant]:
        """Return all tenants."""
        with self._database() as database:
            return database.read(tenants.all_tenants)

    def suspend(self, tenant_id: str) -> None:
        """Refuse all calls of a tenant."""
        with self._database() as database:
            database.write(lambda tx: tenants.suspend(tx, tenant_id))

    def resume(self, tenant_id: str) -> None:
        """Accept the calls of a tenant again."""
        with self._database() as database:
            database.write(lambda tx: tenants.resume(tx, tenant_id))

    def spaces(self) -> list[tuple[str, Space]]:
        """Return all spaces, each with the id of its tenant."""
        with self._database() as database:
            return database.read(accounts.all_spaces)

    def prune(self, space_id: str, user: str | None, *, keep: int) -> int:
        """Remove the oldest messages of a space of a person's tenant; return how many."""
        with self._database() as database:
            removed = 0
            while part := database.write(
                lambda tx: pruning.prune(tx, spaces.find(tx, accounts.person(tx, user), space_id), keep=keep)
            ):
                removed += part
            return removed

    def backup(self, target: Path) -> None:
        """Copy the database into a new file."""
        backups.backup(self.settings, target)

    def restore(self, source: Path) -> Path:
        """Put a backup where the database is; return that path."""
        backups.restore(self.settings, source)
        return self.settings.data_folder / DATABASE_FILE

    def checks(self) -> list[Check]:
        """Return all checks of the data."""
        with self._database(newest=False) as database:
            return checks(database)

    @contextmanager
    def _database(self, *, newest: bool = True) -> Iterator[Database]:
        if not self.settings.database_url and not (self.settings.data_folder / DATABASE_FILE).exists():
            raise NotFound(
                f"there is no database in {self.settings.data_folder}",
                hint="moot serve makes it; --data-dir names another folder",
            )
        database = Database(self.settings.database)
        try:
            if newest:
                database.require_newest()
            yield database
        except UnicodeEncodeError as error:
            raise InvalidRequest("a text that was given is not UTF-8", hint="write it in the encoding UTF-8") from error
        finally:
            database.close()
