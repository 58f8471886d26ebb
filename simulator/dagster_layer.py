"""The part of Dagster that the package relies on, in memory: runs, their events, cursors, and the run queue.

Dagster writes an event to its own database for almost each thing that it does, some 25 ms each; that is most of the
time of a run, and it is not what is simulated here. This layer follows dagster.yaml: at most four runs at once, one for
each value of `xero_pipeline/tenants`, one launch for each run key, one retry of a run whose worker died. Some years are
simulated with the real Dagster as well (`xero_pipeline_tests/automation/test_year.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg

from simulator.processes import Machine, Process
from xero_pipeline.assets.run_organisations import TENANTS_TAG
from xero_pipeline.automation.jobs import JOB

_MAX_RUNS = 4
_OVER = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_UNDER_WAY = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED)


@dataclass
class Run:
    """A run, with the fields of `dagster.DagsterRun` that the package reads."""

    run_id: str
    tags: dict[str, str]
    request: dg.RunRequest
    remote_job_origin: object | None
    created_at: datetime
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.QUEUED
    parent_run_id: str | None = None
    root_run_id: str | None = None
    job_name: str = JOB
    asset_selection: Any = None
    updated_at: datetime | None = None
    ended_at: datetime | None = None
    process: Process | None = field(default=None, repr=False)

    @property
    def run_config(self) -> Mapping[str, Any]:
        return self.request.run_config


class SimulatedDagster:
    """Stands in for `DagsterInstance`, and for the daemon that starts runs."""

    def __init__(self, machine: Machine, execute: Callable[[Run, Process], bool]) -> None:
        self._machine = machine
        self._execute = execute
        self.runs: dict[str, Run] = {}
        self.run_keys: set[str] = set()
        self.events: list[Any] = []
        self.cursors: dict[str, str] = {}
        self.daemon_cursor_storage = SimpleNamespace(
            get_cursor_values=lambda keys: {key: self.cursors[key] for key in keys if key in self.cursors},
            set_cursor_values=self.cursors.update,
        )
        self.schedule_storage = None

    # What starts runs.

    def launch(self, requests: Iterable[dg.RunRequest]) -> None:
        """Queue the runs of a tick, each run key once."""
        for request in requests:
            if request.run_key is not None:
                if request.run_key in self.run_keys:
                    continue
                self.run_keys.add(request.run_key)
            self._create(request, dict(request.tags))
        self._start_queued()

    def begin_own_run(self, run_id: str, tags: Mapping[str, str], process: Process) -> Run:
        """A process such as the command line executes a run by itself."""
        run = Run(run_id, dict(tags), dg.RunRequest(), None, self._machine.now(), process=process)
        run.status = dg.DagsterRunStatus.STARTED
        self.runs[run_id] = run
        return run

    def end_run(self, run: Run, *, success: bool) -> None:
        run.ended_at = run.updated_at = self._machine.now()
        run.status = dg.DagsterRunStatus.SUCCESS if success else dg.DagsterRunStatus.FAILURE
        self.add_event(run.run_id, dg.DagsterEventType.RUN_SUCCESS if success else dg.DagsterEventType.RUN_FAILURE)

    def _create(self, request: dg.RunRequest, tags: dict[str, str], parent: Run | None = None) -> Run:
        number = len(self.runs) + 1
        run = Run(f"run-{number:06d}", tags, request, object(), self._machine.now())
        run.parent_run_id = parent.run_id if parent else None
        run.asset_selection = request.asset_selection
        self.runs[run.run_id] = run
        return run

    def _start_queued(self) -> None:
        active = [run for run in self.runs.values() if run.status is dg.DagsterRunStatus.STARTED]
        for run in [one for one in self.runs.values() if one.status is dg.DagsterRunStatus.QUEUED]:
            tenants = run.tags.get(TENANTS_TAG)
            if len(active) >= _MAX_RUNS:
                return
            if any(other.tags.get(TENANTS_TAG) == tenants for other in active if tenants):
                continue
            run.status = dg.DagsterRunStatus.STARTED
            run.updated_at = self._machine.now()
            active.append(run)
            self._start(run)

    def _start(self, run: Run) -> None:
        def work(process: Process) -> None:
            run.process = process
            success = self._execute(run, process)
            process.step()
            if run.status not in _OVER:
                self.end_run(run, success=success)

        def ended(process: Process) -> None:
            if run.status not in _OVER and not self._machine_was_cut(process):
                # The code server notices that the worker has died; the daemon then retries the run.
                moment = self._machine.scheduler.now() + timedelta(seconds=40)
                self._machine.scheduler.at(moment, lambda: self._fail_dead(run))
            self._start_queued()

        self._machine.start(run.run_id, work, ended)

    def _machine_was_cut(self, process: Process) -> bool:
        return getattr(process, "died_with_machine", False)

    def _fail_dead(self, run: Run) -> None:
        if run.status not in _OVER:
            self.report_run_failed(run, "the worker died")  # type: ignore[arg-type]

    # What the package asks of an instance.

    def report_run_failed(self, run: Run, message: str) -> None:
        """The run's process is dead: the run failed, and is retried once if the daemon had started it."""
        del message
        retries = run.remote_job_origin is not None and run.parent_run_id is None
        run.tags["dagster/will_retry"] = str(retries).lower()
        self.end_run(run, success=False)
        if retries:
            tags = {**run.tags, "dagster/retry_number": "1"}
            tags.pop("dagster/will_retry", None)
            retry = self._create(run.request, tags, run)
            run.tags["dagster/auto_retry_run_id"] = retry.run_id
            self._machine.scheduler.at(self._machine.scheduler.now() + timedelta(seconds=20), self._start_queued)

    def add_event(self, run_id: str, event_type: dg.DagsterEventType, data: Any = None) -> None:
        moment = self._machine.now().timestamp()
        entry = SimpleNamespace(
            dagster_event=SimpleNamespace(event_specific_data=data), job_name=JOB, timestamp=moment, run_id=run_id
        )
        self.events.append(
            SimpleNamespace(
                storage_id=len(self.events) + 1,
                run_id=run_id,
                timestamp=moment,
                event_type=event_type,
                event_log_entry=entry,
            )
        )

    def add_run_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.runs[run_id].tags.update(tags)

    def get_run_by_id(self, run_id: str) -> Run | None:
        return self.runs.get(run_id)

    def get_runs(self, filters: dg.RunsFilter | None = None, limit: int | None = None) -> Sequence[Run]:
        found = [run for run in reversed(self.runs.values()) if self._matches(run, filters)]
        return found[:limit]

    def get_run_records(self, filters: dg.RunsFilter | None = None, limit: int | None = None) -> Sequence[Any]:
        return [
            SimpleNamespace(
                dagster_run=run,
                create_timestamp=run.created_at,
                end_time=run.ended_at.timestamp() if run.ended_at else None,
            )
            for run in self.get_runs(filters, limit)
        ]

    def _matches(self, run: Run, filters: dg.RunsFilter | None) -> bool:
        if filters is None:
            return True
        if filters.statuses and run.status not in filters.statuses:
            return False
        if any(run.tags.get(name) != value for name, value in (filters.tags or {}).items()):
            return False
        after = filters.updated_after
        if after is not None:
            # Dagster stamps its runs with the machine's real clock, so the package compares with that.
            age = datetime.now(UTC) - after
            if age < timedelta(days=2):
                after = self._machine.now() - age
            if (run.updated_at or run.created_at) < after:
                return False
        return True

    def get_backfills(self, **_: Any) -> Sequence[Any]:
        return []

    def fetch_run_status_changes(self, wanted: Any, limit: int, ascending: bool = False, **_: Any) -> SimpleNamespace:
        event_type = getattr(wanted, "event_type", wanted)
        after = getattr(wanted, "after_storage_id", None) or 0
        found = [one for one in self.events if one.event_type is event_type and one.storage_id > after]
        return SimpleNamespace(records=(found if ascending else found[::-1])[:limit])

    def get_records_for_run(
        self, run_id: str, of_type: Any = None, limit: int | None = None, ascending: bool = True
    ) -> SimpleNamespace:
        types = of_type if isinstance(of_type, (set, frozenset)) or of_type is None else {of_type}
        found = [one for one in self.events if one.run_id == run_id and (types is None or one.event_type in types)]
        return SimpleNamespace(records=(found if ascending else found[::-1])[:limit])

    def get_latest_asset_check_evaluation_record(self, _key: Any) -> None:
        """Asset checks run in Dagster's own steps, which are not simulated."""
        return

    def report_runless_asset_event(self, _event: Any) -> None:
        return
