"""The kinds of requests, each with the exact rule that an approval allows, and with its text for a person.

A new kind is an entry of `KINDS`, and a `Capability` of the manifest. Code of other parts of the guard is
imported only when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from claude_bottle.budget.model_hosts import leads_to_models
from claude_bottle.guard.settings import GuardSettings
from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.network import Rules
from pyro_mcp.visible import visible, visible_line

Given = Mapping[str, object]
Rule = dict[str, object]

_OWN_DOMAIN = "bottle.internal"
_MOST_SECONDS = 24 * 3600
_LEAST_SECONDS = 60
_LONGEST_SHOWN = 300


@dataclass(frozen=True)
class Kind:
    """`rule` makes the one form of a rule of what an agent gives, and raises `PyroError`; `text` shows it in a line.

    `help` tells the agent what it can ask for, and `arguments` are the JSON schemas of what it gives.
    """

    rule: Callable[[Given, GuardSettings], Rule]
    text: Callable[[Given], str]
    help: str
    arguments: Mapping[str, Mapping[str, object]]


def rule_of(kind: str, given: Given, settings: GuardSettings) -> Rule:
    """Return the rule that an agent asks for. Raises `InvalidRequest`, and `Conflict` if no approval can allow it."""
    return _kind(kind).rule(given, settings)


def rule_text(kind: str, rule: Given) -> str:
    """Return a rule as one visible line for a person, as exact as the rule itself."""
    if kind not in KINDS:
        return visible_line(f"{kind}: {dict(rule)}", _LONGEST_SHOWN)
    return visible(KINDS[kind].text(rule))


def _kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise InvalidRequest(
            f"nobody can allow a {visible_line(kind, 40)!r}", hint=f"ask for one of {', '.join(KINDS)}"
        )
    return KINDS[kind]


def _host_rule(given: Given, settings: GuardSettings) -> Rule:
    host = _text(given, "host")
    name, _, port = host.partition(":")
    rules = Rules((f"{name}:{port or 443}",))
    entry = rules.entries[0]
    if not entry.name or entry.ports is None:
        raise InvalidRequest(
            f"{visible_line(host, 80)!r} is not the full name of one host with one port",
            hint="ask for NAME or NAME:PORT; no pattern and no address",
        )
    (number,) = entry.ports
    if entry.name == _OWN_DOMAIN or entry.name.endswith(f".{_OWN_DOMAIN}"):
        raise Conflict(f"{entry.name} is a name of the guard", hint="the names below bottle.internal are fixed")
    _check_new(entry.name, number, Rules.from_json(settings.rules))
    if settings.config.get("budget") and leads_to_models(entry.name):
        raise Conflict(
            f"{entry.name} leads to models whose requests the budget would not count",
            hint="only the person who wrote the manifest can allow it, at the next launch",
        )
    return {"host": f"{entry.name}:{number}"}


def _check_new(name: str, port: int, present: Rules) -> None:
    """Raise `Conflict` if an entry for this host would change nothing, or would lift limits of the manifest."""
    if present.name_refusal(name, port, "tcp"):
        return
    entries = [one for one in present.entries if one.has_name(name) and one.has_port(port, "tcp")]
    if any(one.requests or one.upstream for one in entries):
        raise Conflict(
            f"the manifest limits what may be done at {name}:{port}, and an approval would lift all its limits",
            hint="only the person who wrote the manifest can change that, at the next launch",
        )
    raise Conflict(f"{name}:{port} is allowed already", hint="use it")


def _secret_rule(given: Given, settings: GuardSettings) -> Rule:
    name, host = _text(given, "secret"), _text(given, "host")
    known = settings.config.get("secrets", {})
    asked = {one: secret for one, secret in known.items() if secret.get("ask")}
    if name not in asked or host not in asked[name]["hosts"]:
        pairs = [f"{one} for {at}" for one, secret in asked.items() for at in secret["hosts"]]
        raise InvalidRequest(
            f"there is no secret {visible_line(name, 80)!r} for {visible_line(host, 80)!r} that can be asked for",
            hint=f"ask for one of: {', '.join(pairs)}" if pairs else "this bottle has no secret that needs an approval",
        )
    return {"secret": name, "host": host}


def _time_rule(given: Given, settings: GuardSettings) -> Rule:
    seconds = given.get("seconds")
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not _LEAST_SECONDS <= seconds <= _MOST_SECONDS
    ):
        raise InvalidRequest(f"seconds must be a number from {_LEAST_SECONDS} to {_MOST_SECONDS}", hint="ask again")
    if settings.backend == "smolmachines":
        raise Conflict("the lifetime of this machine has no end, so it cannot be extended", hint="go on")
    return {"seconds": int(seconds)}


def _push_rule(_given: Given, _settings: GuardSettings) -> Rule:
    raise InvalidRequest(
        "a push makes its own request",
        hint="run git push to one of the bottle's remotes; it is held, and git prints the id of its request",
    )


def _push_text(rule: Given) -> str:
    updates = rule.get("updates")
    changes = (
        [f"{one.get('ref')} {one.get('old')} -> {one.get('new')}" for one in updates if isinstance(one, dict)]
        if isinstance(updates, list)
        else []
    )
    return f"push to {rule.get('remote')} ({rule.get('url')}): {', '.join(changes)}"


def _budget_rule(given: Given, settings: GuardSettings) -> Rule:
    from claude_bottle.budget.request_kind import budget_rule  # noqa: PLC0415 - only when it is used

    return budget_rule(given, settings.config)


def _budget_text(rule: Given) -> str:
    from claude_bottle.budget.request_kind import budget_text  # noqa: PLC0415 - only when it is used

    return budget_text(rule)


def _text(given: Given, key: str) -> str:
    found = given.get(key)
    if not isinstance(found, str) or not found:
        raise InvalidRequest(f"the argument {key!r} is missing", hint=f"give {key} as a text")
    return found


def _port_text(host: object) -> str:
    name, _, port = str(host).partition(":")
    over = "TCP" if port == "443" else "TCP and UDP"  # an entry with a port allows both, but never QUIC
    return f"connect to {name}, port {port} ({over})"


KINDS: Mapping[str, Kind] = {
    "host": Kind(
        _host_rule,
        lambda rule: _port_text(rule.get("host")),
        "connections to `host`, NAME or NAME:PORT (port 443 without one)",
        {"host": {"type": "string", "description": "NAME or NAME:PORT"}},
    ),
    "push": Kind(
        _push_rule,
        _push_text,
        "run git push to a declared remote instead; the push makes its own request",
        {},
    ),
    "secret": Kind(
        _secret_rule,
        lambda rule: f"use the secret {rule.get('secret')} in requests to {rule.get('host')}",
        "the use of the secret `secret` in requests to `host`",
        {
            "secret": {
                "type": "string",
                "description": "the name of the secret, which is also the name of its variable",
            },
            "host": {"type": "string", "description": "NAME or NAME:PORT"},
        },
    ),
    "budget": Kind(
        _budget_rule,
        _budget_text,
        "more `budget` for the model (span run, day or bottle; unit usd, tokens or requests; add N)",
        {
            "budget": {
                "type": "object",
                "properties": {
                    "span": {"type": "string", "enum": ["run", "day", "bottle"]},
                    "unit": {"type": "string", "enum": ["usd", "tokens", "requests"]},
                    "add": {"type": "number"},
                },
            }
        },
    ),
    "time": Kind(
        _time_rule,
        lambda rule: f"live {rule.get('seconds')} seconds longer",
        "`seconds` more until the bottle is ended",
        {"seconds": {"type": "integer", "description": "how many seconds longer the bottle may run"}},
    ),
}
