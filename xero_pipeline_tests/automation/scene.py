"""A deployment in the middle of its life: connected organisations, Dagster's storage, an inbox for alerts.

Xero is a plain HTTP server, the inbox another one; time is the test's. Runs are written into Dagster's
storage as its daemon would, or really run.
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
from xero_pipeline.automation.failure_alert import FailureMonitor, run_failure_alert_sensor
from xero_pipeline.automation.jobs import range_tags
from xero_pipeline.grants import Connection, Tokens
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
    tone: str


class Inbox:
    """Takes what Apprise's `json://` posts, or refuses it, as a test likes."""

    def __init__(self) -> None:
        self.works = True
        self.server = ScriptedServer(self._take)
        self.messages: list[Message] = []

    def _take(self, request: SeenRequest) -> Answer:
        if not self.works:
            return Answer(500, body="out of order")
        said = json.loads(request.body)
        self.messages.append(Message(said["title"], said["message"], said["type"]))
        return Answer(200)

    @property
    def address(self) -> str:
        """With a password, which must show up nowhere."""
        return self.server.url.replace("http://", "json://alice:hunter2-secret@") + "/secret-path"

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.messages]

    def taken(self) -> list[Message]:
        """What has come since the last time."""
        new, self.messages = self.messages, []
        return new


def tokens(clock: FakeClock, **changes: Any) -> Tokens:
    given: dict[str, Any] = {
        "access_token": f"access-{next(_numbers)}",
        "refresh_token": f"refresh-{next(_numbers)}",
        "id_token": "",
        "token_type": "Bearer",
        "scope": "",
        "expires_at": clock.now() + timedelta(minutes=30),
        "refreshed_at": clock.now(),
    }
    return Tokens(**(given | changes))


@dataclass
class Scene:
    deployment: Deployment
    instance: dg.DagsterInstance
    clock: FakeClock
    inbox: Inbox
    xero: PlainXero
    at_xero: ScriptedServer
    kinds: Sequence[str] = field(default=("profit_and_loss", "invoices", "bank_summary"))

    @property
    def settings(self) -> Settings:
        return self.deployment.settings

    @property
    def alerter(self) -> Alerter:
        """A new one each time, as each tick has."""
        return open_alerter(self.deployment)

    def connect(self, *connections: Connection, **changes: Any) -> None:
        given = tokens(self.clock, **({"scope": self.settings.scopes} | changes))
        self.deployment.warehouse.tokens.save_consent(given, connections, now=self.clock.now())

    def look(self) -> None:
        """One tick of the sensor that always runs."""
        alerter = self.alerter
        FailureMonitor(self.instance, self.deployment, alerter).look()
        alerter.flush()

    def tick(self) -> Any:
        """The same by the sensor itself."""
        return self.sensor(dg.build_sensor_context(instance=self.instance))

    @property
    def sensor(self) -> dg.SensorDefinition:
        @contextmanager
        def opening(_settings: Settings) -> Iterator[Deployment]:
            yield self.deployment

        return run_failure_alert_sensor(self.settings, opening=opening)

    def run(
        self,
        *,
        job: str = "weekly_sync",
        weeks: tuple[Week, Week] | None = (WEEK, WEEK),
        tags: dict[str, str] | None = None,
        retry_of: dg.DagsterRun | None = None,
    ) -> dg.DagsterRun:
        """A run under way, as Dagster's daemon launches one."""
        named = range_tags(*weeks) if weeks else {}
        if retry_of is not None:
            named |= {"dagster/retry_number": "1"}
        return launched(self.instance, job=job, tags=named | (tags or {}), retry_of=retry_of)

    def failing_run(
        self,
        *,
        code: str = "xero_unavailable",
        tenants: Sequence[str] = (DEMO.tenant_id,),
        weeks: tuple[Week, Week] = (WEEK, WEEK),
        said: dict[str, Any] | None = None,
        **of_run: Any,
    ) -> dg.DagsterRun:
        """A run that failed, with its rows of the sync log."""
        run = self.run(weeks=weeks, **of_run)
        for tenant_id, week, kind in itertools.product(tenants, _weeks(weeks), self.kinds):
            log_id = self.deployment.warehouse.log.start(tenant_id, kind, week, run.run_id)
            error = {"error": code, "message": "words with 1,234.56 in them", "advice": ""} | (said or {})
            self.deployment.warehouse.log.fail(log_id, api_calls=1, error_log=error)
        self.instance.report_run_failed(run)
        return run

    def succeed(self, run: dg.DagsterRun) -> None:
        done = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_SUCCESS.value, job_name=run.job_name)
        self.instance.report_dagster_event(done, run.run_id)

    def land(
        self,
        week: Week = WEEK,
        *,
        tenant_id: str = DEMO.tenant_id,
        status: str = "success",
        kinds: Sequence[str] | None = None,
    ) -> None:
        """That organisation's week lands, a second later."""
        self.clock.advance(seconds=1)
        log = self.deployment.warehouse.log
        for kind in kinds or self.kinds:
            log_id = log.start(tenant_id, kind, week, None)
            with self.deployment.warehouse.engine.begin() as connection:
                log.finish(
                    connection,
                    log_id,
                    status=status,
                    record_count=1,
                    api_calls=1,
                    error_log={"differences": [{"by": "1234.56"}]} if status == "partial" else None,
                )


def launched(
    instance: dg.DagsterInstance,
    *,
    job: str = "weekly_sync",
    tags: dict[str, str] | None = None,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    retry_of: dg.DagsterRun | None = None,
) -> dg.DagsterRun:
    """A run as Dagster's daemon launches one: of a job in a code location, so that it can be run again."""
    location = RegisteredCodeLocationOrigin("xero_pipeline.definitions")
    before = retry_of.run_id if retry_of else None
    return create_run_for_test(
        instance,
        job_name=job,
        tags=tags,
        status=status,
        parent_run_id=before,
        root_run_id=before,
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job),
    )


def _weeks(ends: tuple[Week, Week]) -> list[Week]:
    first, last = ends
    return [first.shift(n) for n in range((last.ending - first.ending).days // 7 + 1)]
