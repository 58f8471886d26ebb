"""Build the FastAPI application of the admin page and its HTTP API from its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from sqlalchemy.exc import SQLAlchemyError
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from xero_pipeline.admin import access, connection, explanations, export, figures, months, pages
from xero_pipeline.admin import sync as syncing
from xero_pipeline.admin.context import AdminContext, SharedChecks, Sleep
from xero_pipeline.admin.dagster_api import DagsterApi, DagsterClient
from xero_pipeline.admin.dagster_changes import DagsterChangeRecorder
from xero_pipeline.admin.dagster_ui import DagsterDoor, DagsterUi, DagsterUiTransport
from xero_pipeline.admin.error_responses import add_error_handlers
from xero_pipeline.admin.repeats import RepeatCounter
from xero_pipeline.admin.roles import API_PATH, MOCK_PATH
from xero_pipeline.admin.security import RequestGuard, SecurityMiddleware, make_session_cookie
from xero_pipeline.admin.sessions import Sessions
from xero_pipeline.audit import AuditTrail
from xero_pipeline.clock import Clock, SystemClock
from xero_pipeline.errors import PipelineError
from xero_pipeline.mock_xero.server import create_mock_app
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import DAGSTER_PATH, Settings

_DESCRIPTION = """\
Connect Xero, check that the figures are fresh, sync by hand, switch the schedule on or off.

Errors are `{"error": {"code", "message"}}`. Amounts are exact decimals as text, times are ISO 8601 in UTC, and a
week is named by its Saturday, `weekEnding`.
"""


_DISABLED_FEATURES: dict[str, Any] = {
    # Both pages load their scripts from a CDN.
    "docs_url": None,
    "redoc_url": None,
    "redirect_slashes": False,
    # Off even if the environment names an exporter: the callback's address holds a consent's code and state.
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
    dagster_ui: ASGIApp | None = None,
    workspace_file: Path | None = None,
    sleep: Sleep = anyio.sleep,
) -> FastAPI:
    """Build the app for uvicorn or a test.

    Args:
        deployment, dagster: the caller's objects, which the app does not close. Without them the app opens and
            closes its own.
        dagster_ui: the application under `/dagster`. Without `dagster` and with the default `DAGSTER_URL`, the app
            serves Dagster's own, with the code locations of `workspace_file` (by default the deployment's).
        sleep: waits between two polls of a run.
    """
    clock = clock or (deployment.clock if deployment else SystemClock())
    owned: list[Deployment | DagsterApi | DagsterUi] = []
    if deployment is None:
        deployment = Deployment(settings, clock=clock)
        owned.append(deployment)
    if dagster is None and settings.serves_dagster:
        dagster_ui = own_ui = DagsterUi(settings, workspace_file=workspace_file)
        dagster = DagsterApi(
            f"{settings.server_url}{DAGSTER_PATH}",
            code_location=settings.dagster_code_location,
            transport=DagsterUiTransport(own_ui),
        )
        owned += [dagster, own_ui]
    elif dagster is None:
        dagster = DagsterApi(
            settings.dagster_url, ui_url=settings.dagster_page, code_location=settings.dagster_code_location
        )
        owned.append(dagster)
    trail = AuditTrail(deployment.warehouse)
    sessions = Sessions(settings, clock, deployment.warehouse, trail) if settings.needs_sign_in else None
    checks = SharedChecks(deployment, dagster)
    context = AdminContext(settings, clock, deployment, dagster, sessions, trail, sleep, checks, RepeatCounter(clock))
    # Open them now: the first requests arrive together, and each would open its own.
    _ = (deployment.warehouse, deployment.backend, deployment.session)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        with suppress(PipelineError, SQLAlchemyError):
            trail.store_guesses()
        for resource in owned:
            resource.close()

    app = FastAPI(title="Xero Pipeline", version="1", description=_DESCRIPTION, lifespan=lifespan, **_DISABLED_FEATURES)
    app.state.context = context
    add_error_handlers(app, clock)
    # Include each router directly: FastAPI would process the routes of a nested router twice.
    for part in (connection, syncing, figures, explanations, export, months, access):
        app.include_router(part.router, prefix=API_PATH)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=pages.FOLDER / "static"), name="static")
    if deployment.backend.mock is not None:
        # People give the mock their consent on this machine: nothing may leave it.
        app.mount(MOCK_PATH, create_mock_app(deployment.backend.mock))
    if dagster_ui is not None:
        app.add_middleware(DagsterDoor, dagster_ui=DagsterChangeRecorder(dagster_ui, trail))
    # Added last, so that it is the outermost layer.
    app.add_middleware(SecurityMiddleware, guard=RequestGuard(settings, clock, sessions), clock=clock)
    app.openapi = lambda: _build_openapi(app, settings)  # type: ignore[method-assign]
    return app


def _build_openapi(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """Build the OpenAPI document, once. Where the page asks for a sign-in, it describes how to sign in."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        document["servers"] = [{"url": settings.server_url}]
        if settings.needs_sign_in:
            document["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": make_session_cookie(settings).name},
            }
            document["security"] = [{"bearer": []}, {"session": []}]
            for path in ("/healthz", "/api/v1/xero/callback"):
                document["paths"][path]["get"]["security"] = []
        app.openapi_schema = document
    return app.openapi_schema
