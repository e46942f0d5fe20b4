"""The HTML of the page: no script, no image, one style sheet inside, every text escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from claude_bottle.page.tokens import Decision
from claude_bottle.request_facts import request_facts
from claude_bottle.results import RequestInfo
from pyro_mcp.visible import visible

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.45 system-ui,sans-serif;max-width:42rem;margin:0 auto;padding:1rem}"
    "h1{font-size:1.2rem}section{border:1px solid;border-radius:.5rem;padding:.75rem;margin:1rem 0}"
    "dt{font-weight:600;margin-top:.5rem}dd{margin:0;overflow-wrap:anywhere}"
    "code,pre{font:.85rem/1.4 ui-monospace,monospace}code{overflow-wrap:anywhere}"
    "pre{white-space:pre;overflow-x:auto;max-height:24rem;border:1px solid;padding:.5rem}"
    "form{display:inline}"
    "button{font:inherit;font-weight:600;min-height:3rem;padding:0 1.25rem;margin:.75rem .75rem 0 0}"
    "p.allows{font-size:1.1rem;font-weight:600;overflow-wrap:anywhere}"
)
STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
"""The hash by which the Content-Security-Policy allows the style sheet, and no other."""


def list_page(requests: Sequence[RequestInfo], path: str) -> str:
    """Return the page of all pending requests; its buttons lead to the question for one decision."""
    if not requests:
        return _page("Requests", "<p>No agent waits for a decision.</p>" + _form(path, "", {}, "Look again", "get"))
    parts = [_summary(one) + _choices(one, path) for one in requests]
    return _page(f"Requests: {len(requests)}", "".join(f"<section>{part}</section>" for part in parts))


def question_page(request: RequestInfo, decision: Decision, path: str, push: Sequence[tuple[str, str]]) -> str:
    """Return the question before a decision, with the exact rule; for a held push its log and changes."""
    verb = _VERBS[decision]
    more = "".join(f"<h2>{escape(title)}</h2><pre>{escape(text)}</pre>" for title, text in push)
    button = _form(path, decision, {"decision": decision}, f"Yes, {verb.lower()}", "post")
    return _page(f"{verb} this request?", f"{_summary(request)}{button}{more}{button if push else ''}")


def message_page(title: str, text: str) -> str:
    """Return a page with one sentence."""
    return _page(title, f"<p>{escape(visible(text))}</p>")


_VERBS: dict[Decision, str] = {"approve": "Approve", "deny": "Deny"}


def _choices(one: RequestInfo, path: str) -> str:
    fields = {"reference": one["reference"]}
    return "".join(
        _form(path, decision, {**fields, "decision": decision}, f"{verb}…", "post") for decision, verb in _VERBS.items()
    )


def _summary(one: RequestInfo) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in request_facts(one))
    return f'<p class="allows">{escape(visible(one["allows"]))}</p><dl>{rows}</dl>'


def _form(path: str, name: str, fields: dict[str, str], label: str, method: str) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{escape(key)}" value="{escape(value)}">' for key, value in fields.items()
    )
    button = f'<button class="{name}">{escape(label)}</button>'
    return f'<form method="{method}" action="{escape(path)}" autocomplete="off">{hidden}{button}</form>'


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )
