"""Routes of the page, the sign-in and the health check.

The page gets its figures from the HTTP API. Its templates and scripts are in `templates/` and `static/`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from fastapi import APIRouter, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.templating import Jinja2Templates

from xero_pipeline.access import Identity
from xero_pipeline.admin.api_models import HealthResponse, UnhealthyResponse
from xero_pipeline.admin.callback_reasons import describe_reason
from xero_pipeline.admin.context import AdminContext, AdminContextDep, VisitorDep, read_raw_body
from xero_pipeline.admin.dagster_api import DagsterDown, NoCodeLocation
from xero_pipeline.admin.error_responses import document_only_errors, document_response
from xero_pipeline.admin.login_throttle import TooManyGuesses
from xero_pipeline.admin.security import make_session_cookie, restrict_to_own_path
from xero_pipeline.admin.sessions import Sessions, WrongToken, find_origin
from xero_pipeline.admin.shared_check import CheckTimedOut, SharedCheck
from xero_pipeline.errors import PipelineError
from xero_pipeline.periods import NoSuchMonth
from xero_pipeline.settings.base import is_loopback_host
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline.warehouse.errors import DatabaseUnavailable
from xero_pipeline.warehouse.figures.exporting import list_export_tables
from xero_pipeline.weeks import NoSuchWeek

FOLDER = Path(__file__).parent

router = APIRouter()
_templates = Jinja2Templates(directory=FOLDER / "templates")


@router.get("/", include_in_schema=False)
def index(request: Request, context: AdminContextDep, visitor: VisitorDep) -> Response:
    """The page."""
    canonical_url = _find_canonical_url(request, context)
    if canonical_url is not None:
        return RedirectResponse(canonical_url, 307)
    try:
        standing = context.read_status().as_dict()
    except (PipelineError, SQLAlchemyError):
        # The page's script asks for the status again and shows the error.
        standing = None
    calendar = context.settings.calendar
    try:
        latest = str(calendar.find_latest_week(context.clock.now()))
    except NoSuchWeek:
        latest = ""
    try:
        latest_month = str(calendar.find_latest_month(context.clock.now()))
    except NoSuchMonth:
        latest_month = ""
    return _templates.TemplateResponse(
        request,
        "index.html",
        {
            "standing": standing,
            "notice": _build_notice(request),
            "mock_mode": context.settings.mock_mode,
            "timezone": context.settings.timezone_name,
            "first_week": str(calendar.first),
            "latest_week": latest,
            "first_month": str(calendar.first_month),
            "latest_month": latest_month,
            "dagster_url": context.settings.dagster_page,
            "export_tables": list(list_export_tables()),
            "signed_in": visitor.identity.session is not None,
            "who": visitor.identity.who if context.sessions is not None else None,
            "role": visitor.identity.role.value,
            "manages_access": context.sessions is not None and visitor.identity.role.includes(AccessRole.OWNER),
        },
    )


def _find_canonical_url(request: Request, context: AdminContext) -> str | None:
    """Return the page's address under `SERVER_URL`'s host if the request used another loopback name, else `None`.

    The cookie that binds a consent to its browser belongs to one host: a consent that begins at 127.0.0.1 could
    not finish at localhost.
    """
    server = urlsplit(context.settings.server_url)
    try:
        requested = urlsplit(f"//{request.headers.get('host', '')}")
        name, port = requested.hostname or "", requested.port
    except ValueError:
        # The Host header is no address, or its port is no number: there is nowhere to redirect to.
        return None
    is_other_name = name != server.hostname and port == server.port
    if not is_other_name or not is_loopback_host(name) or not is_loopback_host(server.hostname or ""):
        return None
    query: str = request.scope["query_string"].decode("latin-1")
    return urlunsplit((server.scheme, server.netloc, "/", query, ""))


def _build_notice(request: Request) -> dict[str, str] | None:
    """Build the message that the page shows after the browser comes back from Xero's consent."""
    outcome = request.query_params.get("xero")
    if outcome == "connected":
        return {"kind": "success", "text": "Connected to Xero."}
    if outcome == "error":
        return {"kind": "error", "text": describe_reason(request.query_params.get("reason", ""))}
    return None


@router.get("/login", include_in_schema=False)
def login_page(request: Request, context: AdminContextDep) -> Response:
    """The sign-in page. Redirects when no sign-in is needed or the browser has signed in."""
    next_path = restrict_to_own_path(request.query_params.get("next", "/"))
    if context.sessions is None or context.sessions.identify(make_session_cookie(context.settings).read(request)):
        return RedirectResponse(next_path, 303)
    return _render_login(request, next_path)


@router.post("/login", include_in_schema=False)
async def sign_in(request: Request, context: AdminContextDep) -> Response:
    text = (await read_raw_body(request)).decode("utf-8", "replace")
    form = parse_qs(text, keep_blank_values=True, max_num_fields=10)
    next_path = restrict_to_own_path(form.get("next", ["/"])[-1])
    if context.sessions is None:
        return RedirectResponse(next_path, 303)
    try:
        identity = await run_in_threadpool(
            context.sessions.require_token, form.get("token", [""])[-1].strip(), find_origin(request)
        )
    except WrongToken as error:
        return _render_login(request, next_path, status=401, error=str(error))
    except TooManyGuesses as error:
        return _render_login(request, next_path, status=429, error=str(error), retry_after=error.retry_after)
    response = RedirectResponse(next_path, 303)
    session = await run_in_threadpool(_begin_session, context, context.sessions, identity, find_origin(request))
    make_session_cookie(context.settings).write(response, session)
    return response


def _begin_session(context: AdminContext, sessions: Sessions, identity: Identity, origin: str) -> str:
    with context.trail.recording(identity.at(origin), AuditAction.SIGN_IN):
        return sessions.begin(identity, origin)


def _render_login(
    request: Request, next_path: str, *, status: int = 200, error: str | None = None, retry_after: int | None = None
) -> Response:
    return _templates.TemplateResponse(
        request,
        "login.html",
        {"error": error, "next": next_path},
        status_code=status,
        headers={"Retry-After": str(retry_after)} if retry_after else None,
    )


@router.post("/logout", include_in_schema=False)
def sign_out(context: AdminContextDep, visitor: VisitorDep) -> Response:
    """End the session, and with it the consents that it began."""
    if context.sessions is not None and visitor.identity.session is not None:
        with context.trail.recording(visitor.actor, AuditAction.SIGN_OUT):
            context.sessions.end(visitor.identity.session)
    response = RedirectResponse("/login", 303)
    make_session_cookie(context.settings).delete(response)
    return response


@router.get("/auth/{role}", include_in_schema=False, status_code=204)
def check_role(role: AccessRole) -> Response:
    """Answer 204 to visitors with that role, for a proxy that asks before it lets somebody through to Dagster."""
    # The guard has checked it (`roles.py`): it answers 401 or 403 to everybody else.
    del role
    return Response(status_code=204)


@router.get(
    "/healthz",
    tags=["health"],
    response_model=HealthResponse,
    responses=document_only_errors(401, 403, 429, 500)
    | document_response(503, "One of them does not answer.", UnhealthyResponse),
)
async def healthz(context: AdminContextDep) -> Response:
    """Whether the database and Dagster answer. It needs no sign-in, so it shows nothing more."""
    states = await asyncio.gather(
        _read_state(context.checks.database, DatabaseUnavailable.code),
        _read_state(context.checks.dagster, DagsterDown.code),
    )
    health = dict(zip(("database", "dagster"), states, strict=True))
    broken = [name for name, state in health.items() if state != "ok"]
    if not broken:
        return JSONResponse(health)
    if health == {"database": "ok", "dagster": NoCodeLocation.code}:
        message = "Dagster answers, but has not loaded the pipeline's code."
    else:
        message = f"{' and '.join(broken)} {'does' if len(broken) == 1 else 'do'} not answer."
    return JSONResponse({**health, "error": {"code": f"{broken[0]}_down", "message": message.capitalize()}}, 503)


async def _read_state(check: SharedCheck[None], code_of_silence: str) -> str:
    try:
        await check.ask_async()
    except CheckTimedOut:
        return code_of_silence
    except PipelineError as error:
        return error.code
    return "ok"
