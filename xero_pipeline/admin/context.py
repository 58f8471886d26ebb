"""What every route receives: the deployment and Dagster of this process; and how a request body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from xero_pipeline.admin.dagster_api import DagsterClient
from xero_pipeline.admin.error_responses import BadRequest, describe_validation_errors
from xero_pipeline.admin.repeats import RepeatCounter
from xero_pipeline.admin.sessions import Sessions, Visitor
from xero_pipeline.admin.shared_check import SharedCheck
from xero_pipeline.audit import AuditTrail
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.clock import Clock
from xero_pipeline.connection import ConnectionService
from xero_pipeline.errors import PipelineError
from xero_pipeline.periods import Month, NoSuchMonth
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings
from xero_pipeline.status import DeploymentStatus, read_deployment_status
from xero_pipeline.warehouse.errors import UnknownOrganisation
from xero_pipeline.warehouse.figures.overview import list_known_tenants
from xero_pipeline.weeks import NoSuchWeek, Week

# Date arithmetic fails near `date.min` and `date.max`, so years beyond these are refused first.
_FIRST_YEAR, _LAST_YEAR = 1900, 2999
_MAX_BODY_BYTES = 64 * 1024

Sleep = Callable[[float], Awaitable[None]]
BodyModel = TypeVar("BodyModel", bound=BaseModel)


# How long the page waits for Dagster before it shows the scheduler as unknown, and the health check for each part.
_SCHEDULER_SECONDS = 0.5
_HEALTH_SECONDS = 2.0


class SharedChecks:
    """What many askers want to know at the same time, each looked at once for all of them."""

    def __init__(self, deployment: Deployment, dagster: DagsterClient) -> None:
        # Through lambdas: a test replaces the methods.
        self.database = SharedCheck(
            "The database", lambda: deployment.warehouse.require_current(), seconds=_HEALTH_SECONDS
        )
        self.dagster = SharedCheck("Dagster", lambda: dagster.check(), seconds=_HEALTH_SECONDS)
        self.scheduler = SharedCheck("Dagster", lambda: dagster.is_scheduler_running(), seconds=_SCHEDULER_SECONDS)


@dataclass(frozen=True)
class AdminContext:
    """The objects that the routes use. `sessions` is `None` where the page needs no sign-in."""

    settings: Settings
    clock: Clock
    deployment: Deployment
    dagster: DagsterClient
    sessions: Sessions | None
    trail: AuditTrail
    sleep: Sleep
    checks: SharedChecks
    refused_callbacks: RepeatCounter

    @property
    def connection_service(self) -> ConnectionService:
        return ConnectionService(self.deployment)

    def read_status(self) -> DeploymentStatus:
        """Read the status. The scheduler is unknown (`None`) when Dagster does not answer soon, or refuses."""
        try:
            running: bool | None = self.checks.scheduler.ask()
        except PipelineError:
            running = None
        alert_error = open_alerter(self.deployment).delivery_error
        return read_deployment_status(self.deployment, scheduler_running=running, alert_error=alert_error)

    def require_tenant(self, tenant_id: str | None) -> None:
        """Check that the database knows the organisation; `None` stands for all and always passes.

        Raises:
            UnknownOrganisation: no connection, log or figure has that tenant id.
        """
        if tenant_id is not None and tenant_id not in list_known_tenants(self.deployment.warehouse.engine):
            raise UnknownOrganisation("There is no organisation with that tenantId.")

    def require_week(self, ending: date) -> Week:
        """Return the week that ends on that Saturday.

        Raises:
            NoSuchWeek: the date is no Saturday, or the week cannot be synced.
        """
        if not _FIRST_YEAR <= ending.year <= _LAST_YEAR:
            raise NoSuchWeek(f"{ending.isoformat()} is outside the years {_FIRST_YEAR} to {_LAST_YEAR}.")
        return self.settings.calendar.require_week(ending, self.clock.now())

    def require_month(self, ending: date) -> Month:
        """Return the month that ends on that day.

        Raises:
            NoSuchMonth: the date is not the last day of a month, or the month cannot be synced.
        """
        if not _FIRST_YEAR <= ending.year <= _LAST_YEAR:
            raise NoSuchMonth(f"{ending.isoformat()} is outside the years {_FIRST_YEAR} to {_LAST_YEAR}.")
        return self.settings.calendar.require_month(ending, self.clock.now())

    def build_run_url(self, run_id: str | None) -> str | None:
        return self.dagster.build_run_url(run_id) if run_id else None


async def _get_context(request: Request) -> AdminContext:
    # `async`, although it waits for nothing: otherwise it would need one of the threads, which may all be taken.
    context: AdminContext = request.app.state.context
    return context


def _get_visitor(request: Request) -> Visitor:
    visitor: Visitor | None = request.state.visitor
    assert visitor is not None  # noqa: S101 - the guard lets nobody else reach a route that needs a sign-in
    return visitor


AdminContextDep = Annotated[AdminContext, Depends(_get_context)]
VisitorDep = Annotated[Visitor, Depends(_get_visitor)]
"""Who sends the request. Not for the routes that are open to everybody."""


async def read_raw_body(request: Request) -> bytes:
    """Read the whole body.

    Raises:
        BadRequest: it is longer than 64 KiB.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise BadRequest("The body is too long.", code="too_long", status=413)
    return bytes(body)


async def read_body(request: Request, model: type[BodyModel]) -> BodyModel:
    """Read and validate the JSON body. No body is an empty object, which gives the model's defaults.

    Raises:
        BadRequest: the body is not JSON, or does not fit the model.
    """
    body = await read_raw_body(request)
    try:
        return model.model_validate_json(body if body.strip() else b"{}")
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        if any(problem["type"] == "json_invalid" for problem in problems):
            raise BadRequest("The body is not valid JSON.", code="malformed_json", status=400) from None
        raise BadRequest(describe_validation_errors(problems)) from None


def describe_json_body(model: type[BaseModel], *, required: bool = False) -> dict[str, object]:
    """Describe a JSON body for the OpenAPI document: `read_body` reads it, so FastAPI does not see it."""
    schema = model.model_json_schema(by_alias=True)
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}
