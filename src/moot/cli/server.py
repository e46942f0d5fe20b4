"""moot server: the verbs of an operator, while a server runs or without one"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moot.cli import data_options
from moot.team_profile import builtin_templates
from pyro_mcp.command_line import Verbs, print_json, table, verb
from pyro_mcp.errors import HostNotReady

if TYPE_CHECKING:
    from moot.server.admin.operator import Operator


def add(verbs: Verbs) -> None:
    group = verbs.add_parser("server", help="users, tokens, teams, backups and checks of a space server")
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    users = inner.add_parser("user", help="people").add_subparsers(metavar="COMMAND", required=True)
    add_ = _verb(users, "add", "make a person with a token, a space and agents", _add_user, "moot server user add Ada")
    add_.add_argument("name", metavar="NAME", help="display name")
    add_.add_argument("--tenant", metavar="ID", help="tenant of the person; a new one by default")
    add_.add_argument("--template", default="loop-4", metavar="NAME", help="the team of agents (loop-4)")
    _add_tokens(inner)
    teams = inner.add_parser("team", help="teams of agents").add_subparsers(metavar="COMMAND", required=True)
    install = _verb(
        teams, "install", "make a space with the agents of a template", _install, "moot server team install loop-3"
    )
    install.add_argument("template", metavar="TEMPLATE", help=", ".join(builtin_templates()))
    install.add_argument("--user", metavar="ID", help="the person who sponsors the agents, if there are several")
    install.add_argument("--space-name", metavar="NAME", help="name of the space; the template's by default")
    rooms = inner.add_parser("space", help="spaces").add_subparsers(metavar="COMMAND", required=True)
    _verb(rooms, "list", "list all spaces", _list_spaces, "moot server space list")
    prune = _verb(
        rooms, "prune", "remove the oldest messages of a space", _prune, "moot server space prune spc_1 --keep 100000"
    )
    prune.add_argument("space", metavar="ID", help="the space")
    prune.add_argument("--keep", type=int, required=True, metavar="N", help="keep the last N messages")
    prune.add_argument("--user", metavar="ID", help="a person of the space's tenant, if there are several")
    _add_tenants(inner)
    backup = _verb(
        inner, "backup", "copy the SQLite database, also while a server runs", _backup, "moot server backup copy.db"
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="the new file")
    restore = _verb(inner, "restore", "replace the database by a backup", _restore, "moot server restore copy.db")
    restore.add_argument("file", type=Path, metavar="FILE", help="a file that 'moot server backup' has made")
    _verb(inner, "doctor", "check the data of a server", _doctor, "moot server doctor")


def _add_tenants(inner: Verbs) -> None:
    tenants = inner.add_parser("tenant", help="groups of people and agents").add_subparsers(
        metavar="COMMAND", required=True
    )
    _verb(tenants, "list", "list all tenants", _list_tenants, "moot server tenant list")
    for name, purpose, act in (
        ("suspend", "refuse all calls of a tenant", _suspend),
        ("resume", "accept the calls of a tenant again", _resume),
    ):
        one = _verb(tenants, name, purpose, act, f"moot server tenant {name} ten_1")
        one.add_argument("tenant", metavar="ID", help="its id, from 'moot server tenant list'")


def _add_tokens(inner: Verbs) -> None:
    tokens = inner.add_parser("token", help="personal access tokens").add_subparsers(metavar="COMMAND", required=True)
    create = _verb(
        tokens, "create", "make a token, and print it once", _create_token, "moot server token create --name laptop"
    )
    create.add_argument("--name", default="token", metavar="NAME", help="what the token is for")
    create.add_argument("--user", metavar="ID", help="the person who gets the token, if there are several")
    create.add_argument("--days", type=int, metavar="N", help="expire after N days (default: never)")
    list_ = _verb(tokens, "list", "list the tokens of a person", _list_tokens, "moot server token list")
    list_.add_argument("--user", metavar="ID", help="the person whose tokens are listed, if there are several")
    revoke = _verb(tokens, "revoke", "make a token invalid", _revoke_token, "moot server token revoke pat_1")
    revoke.add_argument("token", metavar="ID", help="its id, from 'moot server token list'")


def _verb(
    verbs: Verbs, name: str, purpose: str, act: Callable[[argparse.Namespace], int], example: str
) -> argparse.ArgumentParser:
    parser = verb(verbs, name, purpose, act, example=example)
    data_options.add(parser)
    return parser


def _operator(arguments: argparse.Namespace) -> Operator:
    from moot.server.admin.operator import Operator  # noqa: PLC0415 - the database library is slow to import

    return Operator(data_options.settings_of(arguments))


def _show(arguments: argparse.Namespace, result: dict[str, Any], text: str) -> int:
    print_json(result) if arguments.json else print(text)
    return 0


def _add_user(arguments: argparse.Namespace) -> int:
    user = _operator(arguments).add_user(arguments.name, tenant_id=arguments.tenant, template=arguments.template)
    return _show(arguments, asdict(user), f"{user.actor_id}\n{user.token}")


def _create_token(arguments: argparse.Namespace) -> int:
    token = _operator(arguments).create_token(arguments.user, arguments.name, expires_in_days=arguments.days)
    return _show(arguments, token.model_dump(), token.token)


def _list_tokens(arguments: argparse.Namespace) -> int:
    found = _operator(arguments).tokens(arguments.user)
    rows = [(one.token_id, one.prefix, one.created_at[:19], one.expires_at or "never", one.name) for one in found]
    text = table([("ID", "BEGINS WITH", "CREATED", "EXPIRES", "NAME"), *rows])
    return _show(arguments, {"tokens": [one.model_dump() for one in found]}, text)


def _revoke_token(arguments: argparse.Namespace) -> int:
    _operator(arguments).revoke_token(arguments.token)
    return _show(arguments, {"revoked": arguments.token}, f"{arguments.token} is not valid any more")


def _install(arguments: argparse.Namespace) -> int:
    made = _operator(arguments).install(arguments.template, arguments.user, space_name=arguments.space_name)
    rows = [(role, one.actor_id, one.api_key) for role, one in made.actors.items()]
    text = f"space {made.space_id} ({made.space_name})\n" + table([("ROLE", "AGENT", "KEY"), *rows])
    return _show(arguments, made.model_dump(), text)


def _list_tenants(arguments: argparse.Namespace) -> int:
    found = _operator(arguments).tenants()
    rows = [(one.tenant_id, "suspended" if one.suspended_at else "active", str(one.actors), one.name) for one in found]
    text = table([("TENANT", "STATE", "ACTORS", "NAME"), *rows])
    return _show(arguments, {"tenants": [asdict(one) for one in found]}, text)


def _suspend(arguments: argparse.Namespace) -> int:
    _operator(arguments).suspend(arguments.tenant)
    return _show(arguments, {"suspended": arguments.tenant}, f"{arguments.tenant} is suspended")


def _resume(arguments: argparse.Namespace) -> int:
    _operator(arguments).resume(arguments.tenant)
    return _show(arguments, {"resumed": arguments.tenant}, f"{arguments.tenant} is active")


def _list_spaces(arguments: argparse.Namespace) -> int:
    found = _operator(arguments).spaces()
    rows = [(one.space_id, one.status, str(one.event_count), tenant, one.name) for tenant, one in found]
    shown = [{"tenant_id": tenant, **one.model_dump()} for tenant, one in found]
    text = table([("SPACE", "STATUS", "EVENTS", "TENANT", "NAME"), *rows])
    return _show(arguments, {"spaces": shown}, text)


def _prune(arguments: argparse.Namespace) -> int:
    number = _operator(arguments).prune(arguments.space, arguments.user, keep=arguments.keep)
    return _show(arguments, {"pruned": number}, f"removed {number} messages")


def _backup(arguments: argparse.Namespace) -> int:
    _operator(arguments).backup(arguments.file)
    return _show(arguments, {"file": str(arguments.file)}, f"wrote {arguments.file}")


def _restore(arguments: argparse.Namespace) -> int:
    database = _operator(arguments).restore(arguments.file)
    return _show(arguments, {"file": str(arguments.file)}, f"restored {database}")


def _doctor(arguments: argparse.Namespace) -> int:
    found = _operator(arguments).checks()
    ready = not any(one.problem for one in found)
    lines = [f"{'MISS' if one.problem else 'ok':4}  {one.name}{': ' * bool(one.problem)}{one.problem}" for one in found]
    _show(arguments, {"ready": ready, "checks": [asdict(one) for one in found]}, "\n".join(lines))
    return 0 if ready else HostNotReady.exit_code
