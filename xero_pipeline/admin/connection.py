"""Routes of the connection: connect, callback, status, disconnect. What they do is `connection.py`'s."""

from __future__ import annotations

import logging
import re
import secrets
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from xero_pipeline.admin.api_models import (
    ConnectAnswer,
    DisconnectAnswer,
    DisconnectRequest,
    StandingAnswer,
    StatusAnswer,
)
from xero_pipeline.admin.callback_reasons import reason_of, reason_sentence
from xero_pipeline.admin.context import AdminContext, Context, body_of, read_body
from xero_pipeline.admin.error_responses import documented_responses, error_response, error_response_doc, responses_only
from xero_pipeline.admin.security import Cookie
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import Grant
from xero_pipeline.warehouse.connections.oauth_states import STATE_LIFE

log = logging.getLogger("xero_pipeline.admin")

router = APIRouter(tags=["connection"])

_CONNECTED = "/?xero=connected"
_OUR_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


@router.get(
    "/connect",
    response_model=ConnectAnswer,
    responses=error_response_doc(302, "To Xero's consent page; for a Custom Connection, back to the page.")
    | documented_responses(409, 502),
)
def connect(request: Request, admin: Context) -> Response:
    """Begin a consent. With `Accept: application/json` the address comes as `{"url"}` instead of a redirect."""
    accepted = request.headers.get("accept", "")
    as_json = "application/json" in accepted and "text/html" not in accepted
    if admin.settings.grant is Grant.CLIENT_CREDENTIALS:
        return _connect_at_once(request, admin, as_json)
    cookie = _browser_cookie(admin)
    browser = cookie.read(request) or ""
    if not _OUR_SECRET.fullmatch(browser):
        browser = secrets.token_urlsafe(32)
    try:
        url = admin.connector.begin(browser=browser)
    except PipelineError as error:
        if as_json:
            raise
        return _back_with(error)
    response: Response = JSONResponse({"url": url}) if as_json else RedirectResponse(url, 302)
    cookie.write(response, browser)
    return response


def _connect_at_once(request: Request, admin: AdminContext, as_json: bool) -> Response:
    # A GET that changes something: a page of another site must not be able to make a browser send it.
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return error_response(403, "origin_refused", "This request comes from another site.")
    try:
        admin.connector.connect_custom()
    except PipelineError as error:
        if as_json:
            raise
        return _back_with(error)
    return JSONResponse({"url": _CONNECTED}) if as_json else RedirectResponse(_CONNECTED, 302)


@router.get(
    "/callback",
    status_code=302,
    response_class=RedirectResponse,
    responses=error_response_doc(302, "To `/?xero=connected`, or to `/?xero=error&reason=…`.")
    | responses_only(401, 403, 422, 429, 500),
)
def callback(
    request: Request,
    admin: Context,
    state: str = "",
    code: str = "",
    error: str = "",
    error_description: str = "",
) -> Response:
    """Where Xero sends the browser back to: finishes the consent. The names of the query are OAuth's own."""
    answer = {"state": state, "code": code, "error": error, "error_description": error_description}
    cookie = _browser_cookie(admin)
    try:
        admin.connector.finish(answer, browser=cookie.read(request))
    except PipelineError as error:
        return _back_with(error)
    response = RedirectResponse(_CONNECTED, 302)
    cookie.delete(response)
    return response


def _back_with(error: PipelineError) -> Response:
    reason = reason_of(error)
    log.warning("connect failed, %s: %s (%s)", reason, reason_sentence(reason), error.what)
    return RedirectResponse(f"/?xero=error&reason={quote(reason, safe='')}", 302)


def _browser_cookie(admin: AdminContext) -> Cookie:
    """A secret of the browser that began a consent: only it may finish it."""
    return Cookie(admin.settings, "xero_pipeline_browser", seconds=int(STATE_LIFE.total_seconds()))


@router.get("/status", responses=documented_responses())
def status(admin: Context) -> StatusAnswer:
    """How the connection, the organisations and the scheduler stand. No call to Xero."""
    return StatusAnswer.model_validate(admin.standing().as_dict())


@router.get("/standing", responses=documented_responses())
def standing(admin: Context) -> StandingAnswer:
    """The status, and what the page shows besides. No call to Xero."""
    return StandingAnswer.model_validate(admin.standing().as_dict())


@router.post(
    "/disconnect",
    response_model=DisconnectAnswer,
    response_model_exclude_none=True,
    responses=documented_responses(400, 404, 409, 413, 502),
    openapi_extra=body_of(DisconnectRequest),
)
async def disconnect(request: Request, admin: Context) -> DisconnectAnswer:
    """Disconnect one organisation, or all, at Xero and here. Figures and logs stay. The last one stops the
    scheduler."""
    wanted = await read_body(request, DisconnectRequest)
    return await run_in_threadpool(_disconnect, admin, wanted.tenant_id)


def _disconnect(admin: AdminContext, tenant_id: str | None) -> DisconnectAnswer:
    admin.connector.disconnect(tenant_id)
    if admin.deployment.warehouse.tokens.organisations():
        return DisconnectAnswer()
    try:
        admin.dagster.stop_scheduler()
    except PipelineError as error:
        log.warning("disconnected, but the scheduler could not be stopped: %s", error)
        return DisconnectAnswer(warning=f"Disconnected, but the scheduler could not be stopped. {error}")
    return DisconnectAnswer()
