"""The git gate: the only server that a bottle's git reaches. It holds each push until a person has approved it.

    gate = Gate(folder, remotes, approvals, record)  # claude_bottle.gate.gate; the manifest needs only the remotes

    guest's git ── smart HTTP ── gateway ── guard ── Gate.connect()
                                                       ├─ fetch: a mirror of the upstream; its credentials stay here
                                                       └─ push: quarantine ─ checks ─ held ─ approved ─ forwarded

All of git's programs that read what the guest sent run in a sandbox, without network and without the user's settings.
"""

from __future__ import annotations

from claude_bottle.gate.remotes import GATE_HOST, PushRule, Remote, guest_url

__all__ = ["GATE_HOST", "PushRule", "Remote", "guest_url"]
