"""Errors as answers: `{"code": "…", "detail": "…"}` with the status of the error."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from moot.server.errors import DatabaseFailed, RequestTimeout, Unauthenticated, status_of
from moot.server.results import Problem
from pyro_mcp.errors import InvalidRequest, NotFound, PyroError, TooManyRequests

ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request says what cannot be."},
    401: {"model": Problem, "description": "The key is missing, or not valid (any more)."},
    403: {"model": Problem, "description": "The caller may not do this."},
    404: {"model": Problem, "description": "It does not exist, or belongs to another tenant."},
    408: {"model": Problem, "description": "The body has not come in time."},
    409: {"model": Problem, "description": "The present state does not allow this."},
    413: {"model": Problem, "description": "The body is too large."},
    429: {"model": Problem, "description": "Too many calls or connections; Retry-After says when to go on."},
    503: {"model": Problem, "description": "The database does not answer, or the server is stopping."},
}
"""What each call may answer instead of its result, for the OpenAPI document."""

_log = logging.getLogger("moot.server")


def detail_of(error: PyroError) -> str:
    """Return what a client is told of an error; what a database driver says is for the log alone."""
    if isinstance(error, DatabaseFailed):
        return error.for_clients
    return f"{error.message}: {error.hint}" if error.hint else error.message


def answer(error: PyroError) -> JSONResponse:
    """Return the answer that tells a client of an error."""
    status = status_of(error)
    detail = detail_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthenticated) else {}
    if isinstance(error, TooManyRequests):
        headers = {"Retry-After": "1"}
    if isinstance(error, RequestTimeout):
        headers = {"Connection": "close"}  # the rest of the body may still come
    return JSONResponse({"code": error.code, "detail": detail, **error.details}, status, headers)


def add_handlers(app: FastAPI) -> None:
    """Let an application answer all errors."""

    @app.exception_handler(PyroError)
    async def of_ours(request: Request, error: PyroError) -> Response:
        if status_of(error) >= 500:
            _log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def of_validation(_request: Request, error: RequestValidationError) -> Response:
        # What the client sent is not repeated: it may not even be text that can be sent back.
        problems = [{name: one[name] for name in ("loc", "msg", "type")} for one in error.errors()]
        for problem in problems:
            problem["loc"] = [_printable(part) for part in problem["loc"]]
        return JSONResponse({"code": InvalidRequest.code, "detail": problems}, 422)

    @app.exception_handler(HTTPException)
    async def of_routing(_request: Request, error: HTTPException) -> Response:
        kind = NotFound if error.status_code == 404 else InvalidRequest
        return JSONResponse({"code": kind.code, "detail": error.detail}, error.status_code, error.headers)

    @app.exception_handler(405)
    async def of_methods(request: Request, _error: Exception) -> Response:
        # By itself Starlette names the methods of the first route of a path alone.
        paths = app.openapi()["paths"].items()
        found = [methods for path, methods in paths if compile_path(path)[0].match(request.url.path)]
        methods = {method.upper() for methods in found for method in methods}
        return JSONResponse(
            {"code": InvalidRequest.code, "detail": "Method Not Allowed"}, 405, {"Allow": ", ".join(sorted(methods))}
        )

    @app.exception_handler(Exception)
    async def of_others(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return JSONResponse({"code": PyroError.code, "detail": "Internal error; the server's log has the cause"}, 500)


def _printable(part: object) -> object:
    return part if isinstance(part, int) else str(part).encode(errors="replace").decode()
