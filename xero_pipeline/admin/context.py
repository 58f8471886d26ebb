"""What every route is handed: this process's deployment, its Dagster, and how a request's body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from xero_pipeline.admin.dagster_api import DagsterClient
from xero_pipeline.admin.error_responses import BadRequest, describe_validation_errors
from xero_pipeline.admin.sessions import Sessions
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.clock import Clock
from xero_pipeline.connection import ConnectionService
from xero_pipeline.errors import PipelineError
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings
from xero_pipeline.status import DeploymentStatus, read_deployment_status
from xero_pipeline.warehouse.errors import UnknownOrganisation
from xero_pipeline.warehouse.figures.overview import known_tenants
from xero_pipeline.weeks import NoSuchWeek, Week

# Dates beyond cannot be counted with: a week before the first one, or after the last.
_FIRST_YEAR, _LAST_YEAR = 1900, 2999
_LONGEST_BODY = 64 * 1024

Pause = Callable[[float], Awaitable[None]]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class AdminContext:
    """The parts that the routes work with. `sign_ins` is `None` where the page is open."""

    settings: Settings
    clock: Clock
    deployment: Deployment
    dagster: DagsterClient
    sign_ins: Sessions | None
    pause: Pause

    @property
    def connector(self) -> ConnectionService:
        return ConnectionService(self.deployment)

    def standing(self) -> DeploymentStatus:
        """How everything stands; a Dagster that does not answer, or refuses, leaves the scheduler unknown."""
        try:
            running: bool | None = self.dagster.scheduler_running()
        except PipelineError:
            running = None
        broken = open_alerter(self.deployment).error
        return read_deployment_status(self.deployment, scheduler_running=running, alert_error=broken)

    def names(self) -> dict[str, str]:
        """What each connected organisation is called, by tenant id."""
        organisations = self.deployment.warehouse.tokens.organisations()
        return {organisation.tenant_id: organisation.tenant_name for organisation in organisations}

    def require_tenant(self, tenant_id: str | None) -> None:
        """
        Raises:
            UnknownOrganisation: nothing was ever heard of it.
        """
        if tenant_id is not None and tenant_id not in known_tenants(self.deployment.warehouse.engine):
            raise UnknownOrganisation("There is no organisation with that tenantId.")

    def week(self, ending: date) -> Week:
        """The week with that Saturday.

        Raises:
            NoSuchWeek: it cannot be synced.
        """
        if not _FIRST_YEAR <= ending.year <= _LAST_YEAR:
            raise NoSuchWeek(f"{ending.isoformat()} is no day of any books.")
        return self.settings.calendar.require_week(ending, self.clock.now())

    def run_url(self, run_id: str | None) -> str | None:
        return self.dagster.run_url(run_id) if run_id else None


def _admin(request: Request) -> AdminContext:
    admin: AdminContext = request.app.state.admin
    return admin


Context = Annotated[AdminContext, Depends(_admin)]


async def read_text(request: Request) -> bytes:
    """The whole body.

    Raises:
        BadRequest: it is longer than anything that makes sense here.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_BODY:
            raise BadRequest("The body is too long.", code="too_long", status=413)
    return bytes(body)


async def read_body(request: Request, model: type[Model]) -> Model:
    """The JSON body; a request without one gives the model's defaults.

    Raises:
        BadRequest: it is no JSON, or not what is expected.
    """
    body = await read_text(request)
    if not body.strip():
        return model()
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        if any(problem["type"] == "json_invalid" for problem in problems):
            raise BadRequest("The body is no JSON.", code="malformed_json", status=400) from None
        raise BadRequest(describe_validation_errors(problems)) from None


def body_of(model: type[BaseModel]) -> dict[str, object]:
    """An optional JSON body, for the OpenAPI document: `read_body` reads it, so FastAPI does not see it."""
    schema = model.model_json_schema(by_alias=True)
    return {"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}}
