"""Routes of the connection: connect, callback, status, disconnect. `ConnectionService` does the work."""

from __future__ import annotations

import logging
import re
import secrets
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from xero_pipeline.admin.api_models import (
    ConnectResponse,
    DetailedStatusResponse,
    DisconnectRequest,
    DisconnectResponse,
    StatusResponse,
)
from xero_pipeline.admin.callback_reasons import describe_reason, get_reason
from xero_pipeline.admin.context import AdminContext, AdminContextDep, VisitorDep, describe_json_body, read_body
from xero_pipeline.admin.error_responses import (
    build_error_response,
    document_errors,
    document_only_errors,
    document_response,
)
from xero_pipeline.admin.repeats import describe_repeats
from xero_pipeline.admin.security import Cookie
from xero_pipeline.admin.sessions import Visitor, find_origin
from xero_pipeline.connection import format_names
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import Grant
from xero_pipeline.warehouse.access.audit_log import Actor, AuditAction
from xero_pipeline.warehouse.connections.oauth_states import STATE_LIFE, ConsentStarter

log = logging.getLogger("xero_pipeline.admin")

router = APIRouter(tags=["connection"])

_CONNECTED_URL = "/?xero=connected"
_BROWSER_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


@router.get(
    "/connect",
    response_model=ConnectResponse,
    responses=document_response(302, "To Xero's consent page; for a Custom Connection, back to the page.")
    | document_errors(409, 502),
)
def connect(request: Request, context: AdminContextDep, visitor: VisitorDep) -> Response:
    """Begin a consent. With `Accept: application/json` the response is `{"url"}` instead of a redirect."""
    accepted = request.headers.get("accept", "")
    as_json = "application/json" in accepted and "text/html" not in accepted
    if context.settings.grant is Grant.CLIENT_CREDENTIALS:
        return _connect_custom(request, context, visitor, as_json)
    cookie = _make_browser_cookie(context)
    browser = cookie.read(request) or ""
    if not _BROWSER_SECRET.fullmatch(browser):
        browser = secrets.token_urlsafe(32)
    try:
        url = context.connection_service.begin_consent(browser=browser, starter=_build_starter(visitor))
    except PipelineError as error:
        if as_json:
            raise
        return _redirect_with_reason(context, error)
    response: Response = JSONResponse({"url": url}) if as_json else RedirectResponse(url, 302)
    cookie.write(response, browser)
    return response


def _build_starter(visitor: Visitor) -> ConsentStarter:
    identity = visitor.identity
    session_hash = identity.session.session_hash if identity.session else None
    return ConsentStarter(visitor.actor, identity.credential, session_hash)


def _connect_custom(request: Request, context: AdminContext, visitor: Visitor, as_json: bool) -> Response:
    # This GET changes something, so a page of another site must not be able to make a browser send it.
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return build_error_response(403, "origin_refused", "This request comes from another site.")
    try:
        with context.trail.recording(visitor.actor, AuditAction.CONNECT) as recorded:
            recorded.subject = format_names(context.connection_service.connect_custom())
    except PipelineError as error:
        if as_json:
            raise
        return _redirect_with_reason(context, error)
    return JSONResponse({"url": _CONNECTED_URL}) if as_json else RedirectResponse(_CONNECTED_URL, 302)


@router.get(
    "/callback",
    status_code=302,
    response_class=RedirectResponse,
    responses=document_response(302, "To `/?xero=connected`, or to `/?xero=error&reason=…`.")
    | document_only_errors(401, 403, 422, 429, 500),
)
def callback(
    request: Request,
    context: AdminContextDep,
    state: str = "",
    code: str = "",
    error: str = "",
    error_description: str = "",
) -> Response:
    """Finish the consent: Xero sends the browser here. The query's names are those of OAuth."""
    answer = {"state": state, "code": code, "error": error, "error_description": error_description}
    cookie = _make_browser_cookie(context)
    browser = cookie.read(request)
    try:
        starter = context.connection_service.find_starter(answer, browser=browser)
        # Without one, anybody may have sent this, so the log names nobody.
        actor = starter.actor if starter else Actor.stranger(find_origin(request))
        with context.trail.recording(actor, AuditAction.CONNECT) as recorded:
            recorded.subject = format_names(context.connection_service.finish_consent(answer, browser=browser))
    except PipelineError as error:
        return _redirect_with_reason(context, error)
    response = RedirectResponse(_CONNECTED_URL, 302)
    cookie.delete(response)
    return response


def _redirect_with_reason(context: AdminContext, error: PipelineError) -> Response:
    reason = get_reason(error)
    # Anybody can send a callback, so refused ones must not fill the log.
    left_out = context.refused_callbacks.count(reason)
    if left_out is not None:
        text = f"{describe_reason(reason)} ({error.what})"
        log.warning("connect failed, %s: %s%s", reason, text, describe_repeats(left_out))
    return RedirectResponse(f"/?xero=error&reason={quote(reason, safe='')}", 302)


def _make_browser_cookie(context: AdminContext) -> Cookie:
    """Make the cookie with the secret of the browser that began a consent: only that browser may finish it."""
    return Cookie(context.settings, "xero_pipeline_browser", seconds=int(STATE_LIFE.total_seconds()))


@router.get("/status", responses=document_errors())
def status(context: AdminContextDep) -> StatusResponse:
    """The status of the connection, the organisations and the scheduler, without a call to Xero."""
    return StatusResponse.model_validate(context.read_status().as_dict())


@router.get("/standing", responses=document_errors())
def standing(context: AdminContextDep) -> DetailedStatusResponse:
    """The status with the further details that the page shows, without a call to Xero."""
    return DetailedStatusResponse.model_validate(context.read_status().as_dict())


@router.post(
    "/disconnect",
    response_model=DisconnectResponse,
    response_model_exclude_none=True,
    responses=document_errors(400, 404, 409, 413, 502),
    openapi_extra=describe_json_body(DisconnectRequest),
)
async def disconnect(request: Request, context: AdminContextDep, visitor: VisitorDep) -> DisconnectResponse:
    """Disconnect one organisation, or all, at Xero and here. Figures and logs stay.

    Disconnecting the last organisation stops the scheduler.
    """
    body = await read_body(request, DisconnectRequest)
    return await run_in_threadpool(_disconnect, context, visitor, body.tenant_id)


def _disconnect(context: AdminContext, visitor: Visitor, tenant_id: str | None) -> DisconnectResponse:
    with context.trail.recording(visitor.actor, AuditAction.DISCONNECT, tenant_id or "") as recorded:
        disconnections = context.connection_service.disconnect(tenant_id)
        recorded.subject = format_names([disconnection.organisation for disconnection in disconnections])
    warnings = [str(disconnection) for disconnection in disconnections if disconnection.unconfirmed]
    if not context.deployment.warehouse.tokens.list_organisations():
        try:
            context.dagster.stop_scheduler()
        except PipelineError as error:
            log.warning("disconnected, but the scheduler could not be stopped: %s", error)
            warnings.append(f"Disconnected, but the scheduler could not be stopped. {error}")
    return DisconnectResponse(warning=" ".join(warnings) or None)
