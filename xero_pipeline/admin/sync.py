"""Routes of syncing: a run in Dagster, its progress, the sync log, the scheduler's switch."""

from __future__ import annotations

import logging
import threading
from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from xero_pipeline.admin.api_models import Day, LogAnswer, RunAnswer, SchedulerAnswer, SyncRequest
from xero_pipeline.admin.context import AdminContext, Context, body_of, read_body
from xero_pipeline.admin.error_responses import BadRequest, documented_responses, error_response_doc
from xero_pipeline.warehouse.logs.sync_log import LogEntry
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import NotConnected, ReconnectNeeded

log = logging.getLogger("xero_pipeline.admin")

router = APIRouter(tags=["syncing"])

# How long a request waits for its run; a week takes seconds, unless Xero's minute limit makes it wait.
LONGEST_WAIT = timedelta(minutes=10)
_POLL_SECONDS = 1.0

# Two clicks at once must not launch two runs.
_launching = threading.Lock()


Limit = Annotated[int, Query(ge=1, le=500)]
TenantId = Annotated[str | None, Query(alias="tenantId", max_length=200)]


@router.post(
    "/sync",
    responses=error_response_doc(202, "The run is not over yet.", RunAnswer) | documented_responses(400, 409, 413, 502),
    openapi_extra=body_of(SyncRequest),
)
async def sync(
    request: Request,
    response: Response,
    admin: Context,
    week_ending: Annotated[Day | None, Query(alias="weekEnding")] = None,
    wait: bool = True,
) -> RunAnswer:
    """Sync one week of every connected organisation, through a run in Dagster.

    `weekEnding` in the query or the body; default: the latest week. Waits for the run's end, ten minutes at
    most, unless `wait=false`. A run of the same week that was asked for here and is not over is joined.
    """
    body = await read_body(request, SyncRequest)
    week = _which_week(admin, week_ending, body.week_ending)
    run_id = await run_in_threadpool(_launch, admin, week)
    answer = await run_in_threadpool(_describe, admin, run_id)
    until = admin.clock.now() + LONGEST_WAIT
    while wait and body.wait is not False and not answer.status.over and admin.clock.now() < until:
        await admin.pause(_POLL_SECONDS)
        if await request.is_disconnected():
            break
        answer = await run_in_threadpool(_describe, admin, run_id)
    if not answer.status.over:
        response.status_code = 202
    return answer


def _which_week(admin: AdminContext, in_query: date | None, in_body: date | None) -> Week:
    if None not in (in_query, in_body) and in_query != in_body:
        raise BadRequest("weekEnding: the query and the body name different weeks")
    ending = in_query or in_body
    return admin.settings.calendar.find_latest_week(admin.clock.now()) if ending is None else admin.week(ending)


def _launch(admin: AdminContext, week: Week) -> str:
    tokens = admin.deployment.warehouse.tokens
    organisations = tokens.organisations()
    if not organisations:
        raise NotConnected("No organisation is connected yet.")
    connected = [one.tenant_id for one in tokens.connected()]
    if not connected:
        raise ReconnectNeeded("No organisation is connected to Xero any more.")
    with _launching:
        run_id = admin.dagster.under_way(week)
        if run_id is None:
            # Without those that are lost: the page says so already, and the run would fail for them.
            run_id = admin.dagster.launch(week, connected if len(connected) < len(organisations) else ())
            log.info("launched run %s for the week ending %s", run_id, week)
    return run_id


def _describe(admin: AdminContext, run_id: str) -> RunAnswer:
    status = admin.dagster.run_status(run_id)
    # Read after the status: a run that is over has written all its rows.
    entries = admin.deployment.warehouse.log.of_run(run_id)
    return RunAnswer(run_id=run_id, status=status, logs=_rows(admin, entries), url=admin.dagster.run_url(run_id))


@router.get("/runs/{runId}", responses=documented_responses(404, 502))
def run(
    admin: Context,
    run_id: Annotated[str, Path(alias="runId", pattern="^[A-Za-z0-9-]{1,64}$")],
) -> RunAnswer:
    """How a run stands, and its rows of the sync log so far."""
    return _describe(admin, run_id)


@router.get("/sync-logs", responses=documented_responses(404))
def sync_logs(admin: Context, limit: Limit = 20, tenant_id: TenantId = None) -> list[LogAnswer]:
    """The sync log, newest first."""
    admin.require_tenant(tenant_id)
    return _rows(admin, admin.deployment.warehouse.log.newest(limit, tenant_id=tenant_id))


def _rows(admin: AdminContext, entries: list[LogEntry]) -> list[LogAnswer]:
    names = admin.names()
    return [
        LogAnswer.model_validate(
            entry.as_dict() | {"tenantName": names.get(entry.tenant_id), "runUrl": admin.run_url(entry.dagster_run_id)}
        )
        for entry in entries
    ]


@router.post("/scheduler/start", responses=documented_responses(502))
def start_scheduler(admin: Context) -> SchedulerAnswer:
    """Switch on Dagster's `daily_sync`, and its sensors with it."""
    admin.dagster.start_scheduler()
    log.info("started the scheduler")
    return SchedulerAnswer(running=True)


@router.post("/scheduler/stop", responses=documented_responses(502))
def stop_scheduler(admin: Context) -> SchedulerAnswer:
    """Switch off Dagster's `daily_sync`, and its sensors with it."""
    admin.dagster.stop_scheduler()
    log.info("stopped the scheduler")
    return SchedulerAnswer(running=False)
