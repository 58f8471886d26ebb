"""The admin page and its HTTP API, put together. What each part does is its own module's matter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.staticfiles import StaticFiles

from xero_pipeline.admin import connection, figures, pages
from xero_pipeline.admin import sync as syncing
from xero_pipeline.admin.context import AdminContext, Pause
from xero_pipeline.admin.dagster_api import DagsterApi, DagsterClient
from xero_pipeline.admin.error_responses import handle_errors
from xero_pipeline.admin.security import MOCK, RequestGuard, SecurityMiddleware, session_cookie
from xero_pipeline.admin.sessions import Sessions
from xero_pipeline.clock import Clock, SystemClock
from xero_pipeline.mock_xero.server import create_mock_app
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings

_ABOUT = """\
Connect Xero, see that it is fresh, sync by hand, switch the schedule.

Errors are `{"error": {"code", "message"}}`. Amounts are exact decimals as text, moments ISO 8601 in UTC, and a
week is named by its Saturday, `weekEnding`.
"""


_WITHOUT: dict[str, Any] = {
    # Their scripts would come from a CDN.
    "docs_url": None,
    "redoc_url": None,
    "redirect_slashes": False,
    # Whatever exporter the environment names: the callback's address holds a consent's code and state.
    "telemetry": {
        "tracing": False,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
    },
}


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    deployment: Deployment | None = None,
    dagster: DagsterClient | None = None,
    pause: Pause = anyio.sleep,
) -> FastAPI:
    """The app, for uvicorn or a test.

    Args:
        deployment, dagster: somebody else's, which stay open; left out, the app opens and closes its own.
        pause: how a request that waits for a run passes the time between two looks.
    """
    clock = clock or (deployment.clock if deployment else SystemClock())
    own: list[Deployment | DagsterApi] = []
    if deployment is None:
        deployment = Deployment(settings, clock=clock)
        own.append(deployment)
    if dagster is None:
        dagster = DagsterApi(settings.dagster_url, page=settings.dagster_page)
        own.append(dagster)
    sign_ins = Sessions(settings, clock) if settings.admin_token else None
    admin = AdminContext(settings, clock, deployment, dagster, sign_ins, pause)
    # Opened now and not by the first requests, which come at once and would open them twice.
    _ = (deployment.warehouse, deployment.chosen, deployment.session)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        for one in own:
            one.close()

    app = FastAPI(title="Xero Pipeline", version="1", description=_ABOUT, lifespan=lifespan, **_WITHOUT)
    app.state.admin = admin
    handle_errors(app, clock)
    # each by itself: of a router within a router FastAPI works out every route once more
    for part in (connection, syncing, figures):
        app.include_router(part.router, prefix="/api/v1/xero")
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=pages.FOLDER / "static"), name="static")
    if deployment.chosen.mock is not None:
        # Where people give the mock their consent, since nothing may leave the machine.
        app.mount(MOCK, create_mock_app(deployment.chosen.mock))
    app.add_middleware(SecurityMiddleware, door=RequestGuard(settings, clock, sign_ins))
    app.openapi = lambda: _document(app, settings)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The OpenAPI document; with `ADMIN_TOKEN` it says how to sign in."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        document["servers"] = [{"url": settings.server_url}]
        if settings.admin_token is not None:
            document["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": session_cookie(settings).name},
            }
            document["security"] = [{"bearer": []}, {"session": []}]
            for path in ("/healthz", "/api/v1/xero/callback"):
                document["paths"][path]["get"]["security"] = []
        app.openapi_schema = document
    return app.openapi_schema
