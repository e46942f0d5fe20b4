"""Teams, invitations, and the prompt rules of a tenant."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request

from moot.server.admin import invites, templates
from moot.server.api.call import WithCall
from moot.server.api.fields import Asked, InPath
from moot.server.api.requests import (
    NewInvitation,
    NewPromptRule,
    PromptRuleChanges,
    Redemption,
    TeamToInstall,
    given_fields,
)
from moot.server.api.state import ServerState
from moot.server.database.transaction import Transaction
from moot.server.identity import personal
from moot.server.identity.callers import Caller
from moot.server.objects import prompt_rules
from moot.server.results import Done, Installation, Invite, NewInvite, PromptRule, RedeemedInvite

router = APIRouter(prefix="/api", tags=["teams"])


@router.post("/teams/install")
def install_team(
    body: TeamToInstall,
    call: WithCall,
    idempotency_key: Annotated[str | None, Header(max_length=200, min_length=1)] = None,
) -> Installation:
    """Make a space with the agents of a template, each with a key.

    A second call with the same Idempotency-Key returns the same team, with new keys instead of the first ones.
    """

    def work(tx: Transaction, caller: Caller) -> Installation:
        personal.require_human(caller)
        return templates.install(
            tx, caller, body.archetype_id, space_name=body.space_name, idempotency_key=idempotency_key
        )

    return call.install(work)


@router.get("/invites")
def list_invites(call: WithCall) -> list[Invite]:
    """Return the last invitations into the caller's tenant."""
    return call.read(invites.all_of)


@router.post("/invites", status_code=201)
def create_invite(body: NewInvitation, call: WithCall) -> NewInvite:
    """Make an invitation into the caller's tenant, with a code that works once."""
    return call.write(lambda tx, caller: invites.create(tx, caller, expires_in_days=body.expires_in_days))


@router.post("/invites/redeem")
def redeem_invite(body: Redemption, request: Request) -> RedeemedInvite:
    """Make a person in the tenant of an invitation, with a token. This call needs no key."""
    state: ServerState = request.app.state.server
    state.rates.take("")
    made = state.database.write(lambda tx: invites.redeem(tx, body.code, body.display_name))
    return RedeemedInvite(
        actor_id=made.actor_id,
        display_name=made.name,
        tenant_id=made.tenant_id,
        default_space_id=made.space_id,
        token=made.token,
    )


@router.delete("/invites/{invite_id}")
def revoke_invite(invite_id: InPath, call: WithCall) -> Done:
    """Delete an invitation that was not redeemed."""
    call.write(lambda tx, caller: invites.revoke(tx, caller, invite_id))
    return Done(status="deleted")


@router.get("/prompt-rules")
def list_prompt_rules(call: WithCall, space_id: Asked = None) -> list[PromptRule]:
    """Return the rules of the caller's tenant; with `space_id`, those that hold in that space."""
    return call.read(lambda tx, caller: prompt_rules.all_of(tx, caller, space_id))


@router.post("/prompt-rules", status_code=201)
def add_prompt_rule(body: NewPromptRule, call: WithCall) -> PromptRule:
    """Make a rule, which the server keeps for its clients; only a person may."""
    return call.write(lambda tx, caller: prompt_rules.add(tx, caller, body.model_dump()))


@router.get("/prompt-rules/{rule_id}")
def get_prompt_rule(rule_id: InPath, call: WithCall) -> PromptRule:
    """Return a rule."""
    return call.read(lambda tx, caller: prompt_rules.get(tx, caller, rule_id))


@router.patch("/prompt-rules/{rule_id}")
def change_prompt_rule(rule_id: InPath, body: PromptRuleChanges, call: WithCall) -> PromptRule:
    """Change a rule; only a person may."""
    return call.write(lambda tx, caller: prompt_rules.change(tx, caller, rule_id, given_fields(body)))


@router.delete("/prompt-rules/{rule_id}")
def remove_prompt_rule(rule_id: InPath, call: WithCall) -> Done:
    """Remove a rule; only a person may."""
    call.write(lambda tx, caller: prompt_rules.remove(tx, caller, rule_id))
    return Done(status="deleted")
