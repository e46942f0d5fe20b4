"""Limits on what the agents of a bottle use of their models.

prices   what a model costs: a shipped table, and the manifest
limits   the limits of a manifest: for a run, for a day, for all runs of a bottle
ledger   what was used and what is reserved, in a database of all bottles of this user
budget   the decision about one request: reserve its most before it is sent, settle at its end
part     the part of the guard that answers the gateway
report   the use of budgets, for persons
"""

from __future__ import annotations
