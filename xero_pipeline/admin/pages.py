"""What a person's browser asks for: the page, the sign-in, and whether all is well. The page's figures come by the
HTTP API; its templates and scripts are in `templates/` and `static/`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from fastapi import APIRouter, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.templating import Jinja2Templates

from xero_pipeline.admin.api_models import HealthAnswer, UnhealthyAnswer
from xero_pipeline.admin.callback_reasons import reason_sentence
from xero_pipeline.admin.context import AdminContext, Context, read_text
from xero_pipeline.admin.error_responses import error_response_doc, responses_only
from xero_pipeline.admin.login_throttle import TooManyGuesses
from xero_pipeline.admin.security import is_loopback, own_path, session_cookie
from xero_pipeline.admin.sessions import WrongToken
from xero_pipeline.errors import PipelineError
from xero_pipeline.weeks import NoSuchWeek

FOLDER = Path(__file__).parent

router = APIRouter()
_templates = Jinja2Templates(directory=FOLDER / "templates")


@router.get("/", include_in_schema=False)
def index(request: Request, admin: Context) -> Response:
    """The page."""
    elsewhere = _by_its_other_name(request, admin)
    if elsewhere is not None:
        return RedirectResponse(elsewhere, 307)
    try:
        standing = admin.standing().as_dict()
    except (PipelineError, SQLAlchemyError):
        # The page's own script asks again, and shows what is wrong.
        standing = None
    calendar = admin.settings.calendar
    try:
        latest = str(calendar.find_latest_week(admin.clock.now()))
    except NoSuchWeek:
        latest = ""
    return _templates.TemplateResponse(
        request,
        "index.html",
        {
            "standing": standing,
            "notice": _notice(request),
            "mock_mode": admin.settings.mock_mode,
            "timezone": admin.settings.timezone_name,
            "first_week": str(calendar.first),
            "latest_week": latest,
            "dagster_url": admin.settings.dagster_page,
            "signed_in": admin.sign_ins is not None,
        },
    )


def _by_its_other_name(request: Request, admin: AdminContext) -> str | None:
    """Where the page is under `SERVER_URL`'s name, if this machine is asked by another of its names.

    The cookie that binds a consent to its browser belongs to one name: a consent that begins at 127.0.0.1 could
    not end at localhost.
    """
    server = urlsplit(admin.settings.server_url)
    try:
        asked = urlsplit(f"//{request.headers.get('host', '')}")
        name, port = asked.hostname or "", asked.port
    except ValueError:
        # No address at all, or a port that is none: nothing to send anybody to.
        return None
    elsewhere = name != server.hostname and port == server.port
    if not elsewhere or not is_loopback(name) or not is_loopback(server.hostname or ""):
        return None
    query: str = request.scope["query_string"].decode("latin-1")
    return urlunsplit((server.scheme, server.netloc, "/", query, ""))


def _notice(request: Request) -> dict[str, str] | None:
    """What the way back from Xero's consent says."""
    said = request.query_params.get("xero")
    if said == "connected":
        return {"kind": "success", "text": "Connected to Xero."}
    if said == "error":
        return {"kind": "error", "text": reason_sentence(request.query_params.get("reason", ""))}
    return None


@router.get("/login", include_in_schema=False)
def login_page(request: Request, admin: Context) -> Response:
    """The sign-in page; where the page is open there is nothing to sign in to."""
    wanted = own_path(request.query_params.get("next", "/"))
    if admin.sign_ins is None or admin.sign_ins.is_valid(session_cookie(admin.settings).read(request)):
        return RedirectResponse(wanted, 303)
    return _login(request, wanted)


@router.post("/login", include_in_schema=False)
async def sign_in(request: Request, admin: Context) -> Response:
    form = parse_qs((await read_text(request)).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)
    wanted = own_path(form.get("next", ["/"])[-1])
    if admin.sign_ins is None:
        return RedirectResponse(wanted, 303)
    try:
        admin.sign_ins.require_token(
            form.get("token", [""])[-1].strip(), request.client.host if request.client else None
        )
    except WrongToken as error:
        return _login(request, wanted, status=401, error=str(error))
    except TooManyGuesses as error:
        return _login(request, wanted, status=429, error=error.what, retry_after=error.retry_after)
    response = RedirectResponse(wanted, 303)
    session_cookie(admin.settings).write(response, admin.sign_ins.begin())
    return response


def _login(
    request: Request, wanted: str, *, status: int = 200, error: str | None = None, retry_after: int | None = None
) -> Response:
    return _templates.TemplateResponse(
        request,
        "login.html",
        {"error": error, "retry_after": retry_after, "next": wanted},
        status_code=status,
        headers={"Retry-After": str(retry_after)} if retry_after else None,
    )


@router.post("/logout", include_in_schema=False)
def sign_out(request: Request, admin: Context) -> Response:
    cookie = session_cookie(admin.settings)
    if admin.sign_ins is not None:
        admin.sign_ins.end(cookie.read(request))
    response = RedirectResponse("/login", 303)
    cookie.delete(response)
    return response


@router.get(
    "/healthz",
    tags=["health"],
    response_model=HealthAnswer,
    responses=responses_only(401, 403, 429, 500)
    | error_response_doc(503, "One of them does not answer.", UnhealthyAnswer),
)
async def healthz(admin: Context) -> Response:
    """Whether the database and Dagster answer. Open to everybody, so it says no more than that."""
    said = await run_in_threadpool(_health, admin)
    broken = [name for name, answer in said.items() if answer != "ok"]
    if not broken:
        return JSONResponse(said)
    message = f"{' and '.join(broken)} {'does' if len(broken) == 1 else 'do'} not answer."
    return JSONResponse({**said, "error": {"code": f"{broken[0]}_down", "message": message.capitalize()}}, 503)


def _health(admin: AdminContext) -> dict[str, str]:
    said = {}
    for name, check in (
        ("database", admin.deployment.warehouse.require_current),
        ("dagster", admin.dagster.check),
    ):
        try:
            check()
            said[name] = "ok"
        except PipelineError as error:
            said[name] = error.code
    return said
