"""Turn errors into responses: the status and `{"error": {"code", "message"}}`.

A response holds the exception's own message and advice, and never a stack trace.
"""

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

from xero_pipeline.admin.api_models import ErrorResponse
from xero_pipeline.admin.dagster_api import DagsterDown, DagsterRefused, UnknownRun
from xero_pipeline.admin.login_throttle import TooManyGuesses
from xero_pipeline.admin.sessions import NoRole, WrongToken
from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.export.errors import ExportFailed
from xero_pipeline.warehouse.access.persons import PersonNotAdded, UnknownPerson
from xero_pipeline.warehouse.access.sessions import UnknownSession
from xero_pipeline.warehouse.errors import (
    DatabaseUnavailable,
    UnknownOrganisation,
    WarehouseError,
)
from xero_pipeline.warehouse.logs.acceptances import NoSuchLogRow, NothingToAccept
from xero_pipeline.weeks import NoSuchWeek
from xero_pipeline.xero.errors import ConnectionLost, RateLimited, XeroError, XeroUnavailable

log = logging.getLogger("xero_pipeline.admin")


class BadRequest(PipelineError):
    """The request cannot be read: 400 for malformed JSON, 404, 413 for too long a body, or 422 for a wrong value."""

    def __init__(self, what: str, *, code: str = "invalid_request", status: int = 422) -> None:
        super().__init__(what)
        self.error_code = code
        self.status = status


# The first class that the error is an instance of decides.
_STATUSES: Sequence[tuple[type[PipelineError], int]] = (
    (NoSuchWeek, 422),
    (ExportFailed, 422),
    (UnknownOrganisation, 404),
    (NoSuchLogRow, 404),
    (NothingToAccept, 409),
    (UnknownRun, 404),
    (UnknownPerson, 404),
    (UnknownSession, 404),
    (PersonNotAdded, 422),
    (WrongToken, 401),
    (NoRole, 403),
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
_HTTP_MESSAGES = {404: "There is nothing at this address.", 405: "This address does not accept that method."}


def build_error_response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers=dict(headers or {}))


def build_pipeline_error_response(error: PipelineError, clock: Clock) -> JSONResponse:
    """Build the response for one of the pipeline's own errors."""
    if isinstance(error, BadRequest):
        return build_error_response(error.status, error.error_code, str(error))
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, TooManyGuesses):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, RateLimited) and error.retry_at is not None:
        seconds = (error.retry_at - clock.now()).total_seconds()
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return build_error_response(status, error.code, str(error), headers)


def build_unexpected_error_response(error: Exception, request: Request) -> JSONResponse:
    """Build the response for a defect, and log where it happened.

    Neither contains the exception's text, which may hold a secret or a figure.
    """
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s %r: unexpected %s\n%s", request.method, request.scope["path"], type(error).__name__, where)
    return build_error_response(500, "unexpected", "Something unexpected went wrong; the server's log says where.")


def add_error_handlers(app: FastAPI, clock: Clock) -> None:
    """Make every error of the app answer in the same form."""

    def handle_pipeline_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, PipelineError)  # noqa: S101 - it is registered for these
        response = build_pipeline_error_response(error, clock)
        level = logging.WARNING if response.status_code >= 500 else logging.INFO
        log.log(level, "%s %r: %d, %s", request.method, request.scope["path"], response.status_code, error)
        return response

    def handle_http_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
        code = _HTTP_CODES.get(error.status_code, "http_error")
        message = _HTTP_MESSAGES.get(error.status_code, str(error.detail))
        return build_error_response(error.status_code, code, message, error.headers)

    def handle_database_error(request: Request, error: Exception) -> Response:
        # An error that the warehouse does not translate, as after a dropped table or on a full disk.
        log.error("%s %r: the database failed (%s)", request.method, request.scope["path"], type(error).__name__)
        return build_pipeline_error_response(DatabaseUnavailable("The database cannot be used as it is."), clock)

    def handle_validation_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
        return build_error_response(422, "invalid_request", describe_validation_errors(error.errors()))

    app.add_exception_handler(PipelineError, handle_pipeline_error)
    app.add_exception_handler(HTTPException, handle_http_error)
    app.add_exception_handler(SQLAlchemyError, handle_database_error)
    app.add_exception_handler(RequestValidationError, handle_validation_error)


def describe_validation_errors(problems: Sequence[Any]) -> str:
    """Describe Pydantic's problems in one line of at most 500 characters, without the values.

    For an optional field Pydantic reports two problems, the second being that it is not null. Only the first helps,
    so each field is named once.
    """
    messages: dict[str, str] = {}
    for problem in sorted(problems, key=lambda problem: problem["type"] == "none_required"):
        names = [str(part) for part in problem["loc"] if part not in ("query", "path", "body")]
        messages.setdefault(names[0] if names else "", str(problem["msg"]).removeprefix("Value error, "))
    parts = [f"{name}: {message}" if name else message for name, message in messages.items()]
    return ("; ".join(parts) or "The request cannot be read.")[:500]


_MEANINGS = {
    400: "The body is not valid JSON.",
    401: "Sign in first, or send your access token as `Authorization: Bearer`.",
    403: "Your role does not allow it, or the request comes from another site.",
    404: "What the request names does not exist.",
    405: "This address does not accept that method.",
    409: "No organisation is connected, a person has to connect it again, or there is nothing to accept.",
    413: "The body is too long.",
    422: "A value is invalid; the message names it.",
    429: "Too many requests; `Retry-After` says how long to wait.",
    500: "A defect of the pipeline.",
    502: "Xero or Dagster refused, or answered something that cannot be read.",
    503: "The database, Dagster or Xero does not answer; the code says which.",
}


Documented = dict[int | str, dict[str, Any]]
"""Responses by status, as FastAPI takes them for the OpenAPI document."""


def document_errors(*statuses: int) -> Documented:
    """Document these error statuses, and those that any call can return: 401, 403, 422, 429, 500 and 503."""
    return document_only_errors(401, 403, 422, 429, 500, 503, *statuses)


def document_only_errors(*statuses: int) -> Documented:
    """Document these error statuses and no others."""
    return {status: {"model": ErrorResponse, "description": _MEANINGS[status]} for status in sorted(set(statuses))}


def document_response(status: int, description: str, model: type[BaseModel] | None = None) -> Documented:
    """Document a response that is no error, or that has a body of its own."""
    return {status: {"description": description} | ({"model": model} if model else {})}
