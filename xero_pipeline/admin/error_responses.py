"""How an error becomes an answer: its status and `{"error": {"code", "message"}}`. What happened is said by the
exception; nothing else of it, and no stack trace, leaves the machine."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from xero_pipeline.admin.api_models import ErrorAnswer
from xero_pipeline.admin.dagster_api import DagsterDown, DagsterRefused, UnknownRun
from xero_pipeline.admin.login_throttle import TooManyGuesses
from xero_pipeline.admin.sessions import WrongToken
from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.warehouse.errors import DatabaseUnavailable, UnknownOrganisation, WarehouseError
from xero_pipeline.weeks import NoSuchWeek
from xero_pipeline.xero.errors import ConnectionLost, RateLimited, XeroError, XeroUnavailable

log = logging.getLogger("xero_pipeline.admin")


class BadRequest(PipelineError):
    """The request cannot be read; `status` says in which way."""

    def __init__(self, what: str, *, code: str = "invalid_request", status: int = 422) -> None:
        super().__init__(what)
        self.name = code
        self.status = status


# The first class that fits counts.
_STATUSES: Sequence[tuple[type[PipelineError], int]] = (
    (NoSuchWeek, 422),
    (UnknownOrganisation, 404),
    (UnknownRun, 404),
    (WrongToken, 401),
    (TooManyGuesses, 429),
    (ConnectionLost, 409),
    (RateLimited, 429),
    (XeroUnavailable, 503),
    (XeroError, 502),
    (DagsterDown, 503),
    (DagsterRefused, 502),
    (WarehouseError, 503),
)

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
_HTTP_MESSAGES = {404: "There is nothing at this address.", 405: "This address does not take that method."}


def error_response(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers=dict(headers or {}))


def pipeline_error_response(error: PipelineError, clock: Clock) -> JSONResponse:
    """What an error of ours answers."""
    if isinstance(error, BadRequest):
        return error_response(error.status, error.name, str(error))
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, TooManyGuesses):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, RateLimited) and error.retry_at is not None:
        seconds = (error.retry_at - clock.now()).total_seconds()
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return error_response(status, error.code, str(error), headers)


def unexpected_error_response(error: Exception, request: Request) -> JSONResponse:
    """What a defect of ours answers: nothing but that. The log gets where it happened, and no text of the
    exception, which may hold anything."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s %r: unexpected %s\n%s", request.method, request.scope["path"], type(error).__name__, where)
    return error_response(500, "unexpected", "Something unexpected went wrong; the server's log says where.")


def handle_errors(app: FastAPI, clock: Clock) -> None:
    """Give every error of the app the same shape."""

    def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, PipelineError)  # noqa: S101 - it is registered for these
        response = pipeline_error_response(error, clock)
        level = logging.WARNING if response.status_code >= 500 else logging.INFO
        log.log(level, "%s %r: %d, %s", request.method, request.scope["path"], response.status_code, error)
        return response

    def of_http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
        code = _HTTP_CODES.get(error.status_code, "http_error")
        message = _HTTP_MESSAGES.get(error.status_code, str(error.detail))
        return error_response(error.status_code, code, message, error.headers)

    def of_database(request: Request, error: Exception) -> Response:
        # What the warehouse has no words for: a table that somebody dropped, a disk that is full.
        log.error("%s %r: the database said no (%s)", request.method, request.scope["path"], type(error).__name__)
        return pipeline_error_response(DatabaseUnavailable("The database cannot be used as it is."), clock)

    def of_parameters(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
        return error_response(422, "invalid_request", describe_validation_errors(error.errors()))

    app.add_exception_handler(PipelineError, ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(SQLAlchemyError, of_database)
    app.add_exception_handler(RequestValidationError, of_parameters)


def describe_validation_errors(problems: Sequence[Any]) -> str:
    """Pydantic's problems as one line; no value is repeated.

    Of a value that may also be left out it tells two, each with a name of its own for what was expected: that nothing
    was wanted helps nobody.
    """
    said: dict[str, str] = {}
    for problem in sorted(problems, key=lambda problem: problem["type"] == "none_required"):
        names = [str(part) for part in problem["loc"] if part not in ("query", "path", "body")]
        said.setdefault(names[0] if names else "", str(problem["msg"]).removeprefix("Value error, "))
    parts = [f"{name}: {words}" if name else words for name, words in said.items()]
    return ("; ".join(parts) or "The request cannot be read.")[:500]


_MEANINGS = {
    400: "The body is no JSON.",
    401: "Sign in first, or send ADMIN_TOKEN as `Authorization: Bearer`.",
    403: "The request comes from another site.",
    404: "There is no such thing.",
    405: "This address does not take that method.",
    409: "No organisation is connected, or a person has to connect it again.",
    413: "The body is too long.",
    422: "A value cannot be used; the message names it.",
    429: "Too often; `Retry-After` says when to go on.",
    500: "A defect of ours.",
    502: "Xero or Dagster refused, or said what cannot be understood.",
    503: "The database, Dagster or Xero does not answer; the code says which.",
}


Documented = dict[int | str, dict[str, Any]]
"""Answers by status, as FastAPI takes them for the OpenAPI document."""


def documented_responses(*statuses: int) -> Documented:
    """These error answers, and those that any call may meet: 401, 403, 422, 429, 500 and 503."""
    return responses_only(401, 403, 422, 429, 500, 503, *statuses)


def responses_only(*statuses: int) -> Documented:
    """These error answers, and no others."""
    every = sorted(set(statuses))
    return {status: {"model": ErrorAnswer, "description": _MEANINGS[status]} for status in every}


def error_response_doc(status: int, description: str, model: type[BaseModel] | None = None) -> Documented:
    """An answer that is no error, or no usual one."""
    return {status: {"description": description} | ({"model": model} if model else {})}
