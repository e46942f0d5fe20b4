"""The guard of a bottle: one process of this host that records and decides what the bottle's gateway asks.

    policy process ═ supervisor channel ═ guard ── database ── 'claude-bottle pending | approve | deny'

`program` is the process, `process` starts and ends it. It joins the parts in `parts`: each decides about something, or
serves a name of the guest. `requests` has what agents ask for and what persons decided. Any number of guards and
commands share the database. A guard is not restarted: when it ends, its gateway ends, and the guest has no network.
"""
