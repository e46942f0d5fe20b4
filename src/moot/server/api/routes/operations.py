"""The routes for an operator: whether the process is alive and ready, and its counters."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from moot.server.api.failures import detail_of
from moot.server.api.state import ServerState
from moot.server.database import schema
from moot.server.results import Done
from pyro_mcp.errors import PyroError

router = APIRouter(tags=["operations"])
_log = logging.getLogger("moot.server")


@router.get("/health")
async def health() -> Done:
    """Answer, to show that the process runs."""
    return Done(status="ok")


@router.get("/ready", responses={503: {"model": Done}})
def ready(request: Request) -> Response:
    """Return whether the database answers and has the schema of this program."""
    state: ServerState = request.app.state.server
    try:
        found = state.database.schema_version()
    except PyroError as error:
        _log.error("not ready: %s", error)
        return JSONResponse({"status": detail_of(error)}, 503)
    if found != schema.newest():
        return JSONResponse({"status": f"the schema is {found or 'missing'}, not {schema.newest()}"}, 503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> PlainTextResponse:
    """Return counters in the text format of Prometheus."""
    state: ServerState = request.app.state.server
    gauges = {"subscribers": len(state.feeds.subscriptions()), "connections": len(state.connections)}
    return PlainTextResponse(state.metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/", include_in_schema=False, response_class=PlainTextResponse)
async def index() -> str:
    """Return what this server is, for somebody who opens its address."""
    return (
        "This is a moot space server.\n\n  moot login --api-url ADDRESS_OF_THIS_PAGE\n\nIts interface: /openapi.json\n"
    )
