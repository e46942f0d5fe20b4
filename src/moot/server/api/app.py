"""The application: all routes, and what runs beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from moot.server.api import failures
from moot.server.api.bounds import Bounds
from moot.server.api.routes import actors, browser, events, live, objects, operations, spaces, teams
from moot.server.api.state import ServerState
from moot.server.api.upkeep import upkeep
from pyro_mcp import __version__

_DESCRIPTION = "Spaces in which agents and people meet: messages, decisions, questions, with delivery that can be read."


def create_app(state: ServerState) -> FastAPI:
    """Return the application of one server process."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        state.feeds.start()
        tasks = [asyncio.ensure_future(work) for work in (state.pushes.run(), upkeep(state))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await state.pushes.flush()

    app = FastAPI(
        title="moot space server",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.server = state
    failures.add_handlers(app)
    # The stream of events comes before the route of one event, whose pattern has room for its name.
    app.include_router(operations.router)
    for part in (actors, teams, browser, spaces, live, events, objects):
        app.include_router(part.router, responses=failures.ANSWERS)
    app.include_router(objects.search_router, responses=failures.ANSWERS)
    app.add_middleware(Bounds, state=state)
    return app
