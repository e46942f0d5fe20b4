"""The guard of a bottle: the process on this host that records the decisions of the bottle's gateway.

    policy process ═ supervisor channel ═ guard ── database ── 'claude-bottle pending | approve | deny'

`program` is the process; `process` starts and ends it. The guard consists of the parts in `parts`: each decides about
one subject, such as secrets, or serves a name to the guest. `requests` stores what agents ask for and persons decide.
Any number of guards and commands share the database. A guard is not restarted: when it ends, its gateway ends, and the
guest has no network.
"""
