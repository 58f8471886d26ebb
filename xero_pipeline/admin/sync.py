"""Routes of syncing: launch a run in Dagster, read its progress and the sync log, start and stop the scheduler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from xero_pipeline.admin.api_models import (
    AcceptRequest,
    IsoDate,
    LogResponse,
    ReconciliationResponse,
    RunResponse,
    SchedulerResponse,
    SyncRequest,
)
from xero_pipeline.admin.context import AdminContext, AdminContextDep, VisitorDep, describe_json_body, read_body
from xero_pipeline.admin.error_responses import BadRequest, document_errors, document_response
from xero_pipeline.admin.sessions import Visitor
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.partial_weeks import PartialWeekMonitor
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.logs.reconciliations import ReconciliationLog
from xero_pipeline.warehouse.logs.sync_log import LogEntry
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import NotConnected, ReconnectNeeded

log = logging.getLogger("xero_pipeline.admin")

router = APIRouter(tags=["syncing"])

# How long a request waits for its run. A week takes seconds, or minutes when Xero's minute limit is reached.
LONGEST_WAIT = timedelta(minutes=10)
_POLL_SECONDS = 1.0

# Two clicks at once must not launch two runs.
_launching = threading.Lock()


Limit = Annotated[int, Query(ge=1, le=500)]
TenantId = Annotated[str | None, Query(alias="tenantId", max_length=200)]


@router.post(
    "/sync",
    responses=document_response(202, "The run has not ended yet.", RunResponse) | document_errors(400, 409, 413, 502),
    openapi_extra=describe_json_body(SyncRequest),
)
async def sync(
    request: Request,
    response: Response,
    context: AdminContextDep,
    visitor: VisitorDep,
    week_ending: Annotated[IsoDate | None, Query(alias="weekEnding")] = None,
    wait: bool = True,
) -> RunResponse:
    """Sync one week of every connected organisation, through a run in Dagster.

    `weekEnding` is in the query or the body; the default is the latest week. The request waits for the run to end,
    ten minutes at most, unless `wait=false`. If a run of the same week that was launched here has not ended, the
    request joins it and launches no other.
    """
    body = await read_body(request, SyncRequest)
    week = _choose_week(context, week_ending, body.week_ending)
    run_id = await run_in_threadpool(_launch_or_join, context, visitor, week)
    run_response = await run_in_threadpool(_read_run, context, run_id)
    deadline = context.clock.now() + LONGEST_WAIT
    must_wait = wait and body.wait is not False
    while must_wait and not run_response.status.is_over and context.clock.now() < deadline:
        await context.sleep(_POLL_SECONDS)
        if await request.is_disconnected():
            break
        run_response = await run_in_threadpool(_read_run, context, run_id)
    if not run_response.status.is_over:
        response.status_code = 202
    return run_response


def _choose_week(context: AdminContext, in_query: date | None, in_body: date | None) -> Week:
    if None not in (in_query, in_body) and in_query != in_body:
        raise BadRequest("weekEnding: the query and the body name different weeks")
    ending = in_query or in_body
    return (
        context.settings.calendar.find_latest_week(context.clock.now())
        if ending is None
        else context.require_week(ending)
    )


def _launch_or_join(context: AdminContext, visitor: Visitor, week: Week) -> str:
    with context.trail.recording(visitor.actor, AuditAction.SYNC, f"week ending {week}") as recorded:
        connected = _list_tenants_to_sync(context)
        with _launching:
            run_id = context.dagster.find_unfinished_run(week)
            if run_id is None:
                run_id = context.dagster.launch_run(week, connected)
                log.info("launched run %s for the week ending %s", run_id, week)
        recorded.subject += f", run {run_id}"
    return run_id


def _list_tenants_to_sync(context: AdminContext) -> Sequence[str]:
    """The tenant ids for a run; none stands for all. Leaves out organisations whose connection is lost: the run would
    fail for them, and the page shows them."""
    organisations = context.deployment.warehouse.tokens.list_organisations()
    if not organisations:
        raise NotConnected("No organisation is connected yet.")
    connected = [one.tenant_id for one in organisations if one.status is ConnectionStatus.CONNECTED]
    if not connected:
        raise ReconnectNeeded("No organisation is connected to Xero any longer.")
    return connected if len(connected) < len(organisations) else ()


def _read_run(context: AdminContext, run_id: str) -> RunResponse:
    status = context.dagster.read_run_status(run_id)
    # Read the log after the status: a run that has ended has written all its rows.
    entries = context.deployment.warehouse.log.list_for_run(run_id)
    return RunResponse(
        run_id=run_id, status=status, logs=_build_log_rows(context, entries), url=context.dagster.build_run_url(run_id)
    )


@router.get("/runs/{runId}", responses=document_errors(404, 502))
def run(
    context: AdminContextDep,
    run_id: Annotated[str, Path(alias="runId", pattern="^[A-Za-z0-9-]{1,64}$")],
) -> RunResponse:
    """A run's status, and its rows of the sync log so far."""
    return _read_run(context, run_id)


@router.get("/sync-logs", responses=document_errors(404))
def sync_logs(context: AdminContextDep, limit: Limit = 20, tenant_id: TenantId = None) -> list[LogResponse]:
    """The sync log, newest first."""
    context.require_tenant(tenant_id)
    return _build_log_rows(context, context.deployment.warehouse.log.list_newest(limit, tenant_id=tenant_id))


@router.get("/reconciliations", responses=document_errors(404))
def reconciliations(
    context: AdminContextDep, limit: Limit = 20, tenant_id: TenantId = None
) -> list[ReconciliationResponse]:
    """The comparisons of the stored weeks with Xero's own totals, newest first."""
    context.require_tenant(tenant_id)
    names = context.deployment.warehouse.tokens.list_names()
    log = ReconciliationLog(context.deployment.warehouse.engine)
    return [
        ReconciliationResponse.model_validate(row.as_dict() | {"tenantName": names.get(row.tenant_id)})
        for row in log.list_newest(limit, tenant_id=tenant_id)
    ]


@router.post(
    "/sync-logs/{logId}/accept",
    responses=document_errors(400, 404, 409, 413),
    openapi_extra=describe_json_body(AcceptRequest),
)
async def accept(
    request: Request,
    context: AdminContextDep,
    visitor: VisitorDep,
    log_id: Annotated[int, Path(alias="logId", ge=1, le=2**63 - 1)],
) -> LogResponse:
    """Accept the differences of a `partial` row, and return the row. Its status and the figures stay.

    The check and the alert close. The same differences on a later sync of that week are accepted as well.
    """
    body = await read_body(request, AcceptRequest)
    return await run_in_threadpool(_accept, context, visitor, log_id, body.note)


def _accept(context: AdminContext, visitor: Visitor, log_id: int, note: str) -> LogResponse:
    deployment = context.deployment
    with context.trail.recording(visitor.actor, AuditAction.ACCEPT, f"row {log_id} of the sync log"):
        entry = deployment.warehouse.log.accept(log_id, who=visitor.actor.who, note=note)
    log.info("the differences of row %d of the sync log were accepted", log_id)
    # The sensor `run_failure_alert` evaluates the check again.
    PartialWeekMonitor(deployment, open_alerter(deployment)).report_recoveries()
    return _build_log_rows(context, [entry])[0]


def _build_log_rows(context: AdminContext, entries: list[LogEntry]) -> list[LogResponse]:
    names = context.deployment.warehouse.tokens.list_names()
    return [
        LogResponse.model_validate(
            entry.as_dict()
            | {"tenantName": names.get(entry.tenant_id), "runUrl": context.build_run_url(entry.dagster_run_id)}
        )
        for entry in entries
    ]


@router.post("/scheduler/start", responses=document_errors(502))
def start_scheduler(context: AdminContextDep, visitor: VisitorDep) -> SchedulerResponse:
    """Start Dagster's schedule `daily_sync` and its sensors."""
    with context.trail.recording(visitor.actor, AuditAction.START_SCHEDULER):
        context.dagster.start_scheduler()
    context.checks.scheduler.forget()
    log.info("started the scheduler")
    return SchedulerResponse(running=True)


@router.post("/scheduler/stop", responses=document_errors(502))
def stop_scheduler(context: AdminContextDep, visitor: VisitorDep) -> SchedulerResponse:
    """Stop Dagster's schedule `daily_sync` and its sensors."""
    with context.trail.recording(visitor.actor, AuditAction.STOP_SCHEDULER):
        context.dagster.stop_scheduler()
    context.checks.scheduler.forget()
    log.info("stopped the scheduler")
    return SchedulerResponse(running=False)
