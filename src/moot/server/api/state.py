"""What all handlers of one server process share."""

from __future__ import annotations

from dataclasses import dataclass, field

from moot.server.api.metrics import Metrics
from moot.server.api.rates import Rates
from moot.server.database.database import Database
from moot.server.delivery.feeds import Feeds
from moot.server.delivery.pushes import Pushes
from moot.server.settings import Limits


@dataclass
class ServerState:
    """The database, the live feeds, and the limits of a server process."""

    database: Database
    limits: Limits = field(default_factory=Limits)
    feeds: Feeds = field(init=False)
    pushes: Pushes = field(init=False)
    rates: Rates = field(init=False)
    metrics: Metrics = field(default_factory=Metrics)
    connections: set[str] = field(default_factory=set)
    """The ids of the live connections of this process."""

    def __post_init__(self) -> None:
        self.feeds = Feeds(self.database)
        self.pushes = Pushes(self.database)
        self.rates = Rates(self.limits.requests_per_second, self.limits.burst)
