"""A deployment in use: connected organisations, Dagster's storage, an inbox for alerts.

Xero is a plain HTTP server and the inbox another one; the test sets the time. Runs are written into Dagster's storage
as its daemon writes them, or really run.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import dagster as dg

from xero_pipeline.automation.alerts import Alerter, open_alerter
from xero_pipeline.automation.failure_alert import FailureMonitor, build_run_failure_alert_sensor
from xero_pipeline.automation.jobs import build_range_tags
from xero_pipeline.grants import Connection, Tokens
from xero_pipeline.periods import Period, iterate_periods
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.dagster_internals import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    create_run_for_test,
)
from xero_pipeline_tests.plain_xero import PlainXero
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest

WEEK = Week(date(2026, 11, 21))
DEMO = Connection("connection-1", "tenant-1", "Demo Company")
OTHER = Connection("connection-2", "tenant-2", "Other Company")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Message:
    title: str
    body: str
    kind: str


class Inbox:
    """A server that takes the posts of Apprise's `json://`, or refuses them while `works` is false."""

    def __init__(self) -> None:
        self.works = True
        self.server = ScriptedServer(self._take)
        self.messages: list[Message] = []

    def _take(self, request: SeenRequest) -> Answer:
        if not self.works:
            return Answer(500, body="out of order")
        post = json.loads(request.body)
        self.messages.append(Message(post["title"], post["message"], post["type"]))
        return Answer(200)

    @property
    def address(self) -> str:
        """The address with a password, which must not appear anywhere."""
        return self.server.url.replace("http://", "json://alice:hunter2-secret@") + "/secret-path"

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.messages]

    def take_messages(self) -> list[Message]:
        """Return the messages since the last call, and empty the inbox."""
        messages, self.messages = self.messages, []
        return messages


def make_tokens(clock: FakeClock, **changes: Any) -> Tokens:
    values: dict[str, Any] = {
        "access_token": f"access-{next(_numbers)}",
        "refresh_token": f"refresh-{next(_numbers)}",
        "id_token": "",
        "token_type": "Bearer",
        "scope": "",
        "expires_at": clock.now() + timedelta(minutes=30),
        "refreshed_at": clock.now(),
    }
    return Tokens(**(values | changes))


@dataclass
class Scene:
    deployment: Deployment
    instance: dg.DagsterInstance
    clock: FakeClock
    inbox: Inbox
    xero: PlainXero
    xero_server: ScriptedServer
    sync_types: Sequence[str] = field(default=("profit_and_loss", "invoices", "bank_summary"))

    @property
    def settings(self) -> Settings:
        return self.deployment.settings

    @property
    def alerter(self) -> Alerter:
        """A new alerter on each access, as each tick has its own."""
        return open_alerter(self.deployment)

    def connect(self, *connections: Connection, **changes: Any) -> None:
        tokens = make_tokens(self.clock, **({"scope": self.settings.scopes} | changes))
        self.deployment.warehouse.tokens.save_consent(tokens, connections, now=self.clock.now())

    def evaluate(self) -> None:
        """Do what a tick of `run_failure_alert` does."""
        alerter = self.alerter
        FailureMonitor(self.instance, self.deployment, alerter).evaluate()
        alerter.flush()

    def run_sensor(self) -> Any:
        """Evaluate the sensor itself."""
        return self.sensor(dg.build_sensor_context(instance=self.instance))

    @property
    def sensor(self) -> dg.SensorDefinition:
        @contextmanager
        def opener(_settings: Settings) -> Iterator[Deployment]:
            yield self.deployment

        return build_run_failure_alert_sensor(self.settings, opener=opener)

    def start_run(
        self,
        *,
        job: str = "weekly_sync",
        weeks: tuple[Period, Period] | None = (WEEK, WEEK),
        tags: dict[str, str] | None = None,
        retry_of: dg.DagsterRun | None = None,
    ) -> dg.DagsterRun:
        """Add a run that is under way, as Dagster's daemon launches one."""
        run_tags = build_range_tags(*weeks) if weeks else {}
        if retry_of is not None:
            run_tags |= {"dagster/retry_number": "1"}
        return launch_run(self.instance, job=job, tags=run_tags | (tags or {}), retry_of=retry_of)

    def fail_run(
        self,
        *,
        code: str = "xero_unavailable",
        tenants: Sequence[str] = (DEMO.tenant_id,),
        weeks: tuple[Period, Period] = (WEEK, WEEK),
        error: dict[str, Any] | None = None,
        sync_types: Sequence[str] | None = None,
        **run_options: Any,
    ) -> dg.DagsterRun:
        """Add a failed run, with its rows of the sync log."""
        run = self.start_run(weeks=weeks, **run_options)
        kinds = sync_types or self.sync_types
        for tenant_id, week, sync_type in itertools.product(tenants, iterate_periods(*weeks), kinds):
            log_id = self.deployment.warehouse.log.start(tenant_id, sync_type, week, run.run_id)
            details = {"error": code, "message": "words with 1,234.56 in them", "advice": ""} | (error or {})
            self.deployment.warehouse.log.fail(log_id, api_calls=1, error_log=details)
        self.instance.report_run_failed(run)
        return run

    def finish_run(self, run: dg.DagsterRun) -> None:
        success = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_SUCCESS.value, job_name=run.job_name)
        self.instance.report_dagster_event(success, run.run_id)

    def land(
        self,
        week: Week = WEEK,
        *,
        tenant_id: str = DEMO.tenant_id,
        status: str = "success",
        sync_types: Sequence[str] | None = None,
    ) -> None:
        """Log that organisation's week as landed, a second later."""
        self.clock.advance(seconds=1)
        log = self.deployment.warehouse.log
        for sync_type in sync_types or self.sync_types:
            log_id = log.start(tenant_id, sync_type, week, None)
            with self.deployment.warehouse.engine.begin() as connection:
                log.finish(
                    connection,
                    log_id,
                    status=status,
                    record_count=1,
                    api_calls=1,
                    error_log={"differences": [{"by": "1234.56"}]} if status == "partial" else None,
                )


def launch_run(
    instance: dg.DagsterInstance,
    *,
    job: str = "weekly_sync",
    tags: dict[str, str] | None = None,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    retry_of: dg.DagsterRun | None = None,
) -> dg.DagsterRun:
    """Add a run as Dagster's daemon launches one: of a job in a code location, so that Dagster can retry it."""
    location = RegisteredCodeLocationOrigin("xero_pipeline.definitions")
    first_run_id = retry_of.run_id if retry_of else None
    return create_run_for_test(
        instance,
        job_name=job,
        tags=tags,
        status=status,
        parent_run_id=first_run_id,
        root_run_id=first_run_id,
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job),
    )
