"""The world of one seed: the deployment, its Xero, its people, and the laws that watch."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import shutil
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import dagster as dg
from dagster._core.execution.plan.objects import UserFailureData

from simulator import events
from simulator.dagster_layer import Run, SimulatedDagster
from simulator.database import SimulatedDatabase, make_folder
from simulator.laws import FigureLaws, LawBroken, count_permits, count_permits_of, find_leftovers
from simulator.lists import choose_page_size
from simulator.mailbox import Mailbox, SimulatedAddress, watch_claims
from simulator.network import Network, SimulatedTransport
from simulator.plan import DAY, Event, Plan
from simulator.processes import Machine, Process, SimulatedLocks
from simulator.threads import InlineThreads
from simulator.time import Scheduler
from simulator.truth import Truth
from xero_pipeline.assets import fetch_ahead
from xero_pipeline.assets.cash import build_cash_position_weekly_asset
from xero_pipeline.assets.extractions import build_extractions
from xero_pipeline.assets.financial import build_financial_weekly_asset
from xero_pipeline.assets.partitions import build_weekly_partitions
from xero_pipeline.assets.progress import NoProgress
from xero_pipeline.assets.revenue import build_revenue_weekly_asset
from xero_pipeline.assets.run_weeks import RunWeeks
from xero_pipeline.assets.week_reports import WeekReports
from xero_pipeline.assets.week_sync import WeeklySyncConfig
from xero_pipeline.automation import alerts
from xero_pipeline.automation.access_alerts import notify_access
from xero_pipeline.automation.connection_health import ConnectionMonitor
from xero_pipeline.automation.failure_alert import FailureMonitor
from xero_pipeline.automation.jobs import build_range_tags
from xero_pipeline.automation.late_edits import LateEditFinder
from xero_pipeline.automation.missing_weeks import GapFinder
from xero_pipeline.automation.planning import find_weeks_under_way, parse_run_weeks
from xero_pipeline.automation.reconciliation import ReconciliationPlanner
from xero_pipeline.automation.schedule import plan_daily_sync
from xero_pipeline.connection import ConnectionService
from xero_pipeline.dagster_internals import SerializableErrorInfo, StepFailureData
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.mock_xero import MockXero
from xero_pipeline.reconciliation.blocks import MAX_BLOCK_WEEKS, list_blocks
from xero_pipeline.resources import Deployment, XeroBackend, choose_backend
from xero_pipeline.run_liveness import build_worker_tags, hold_run_lock
from xero_pipeline.settings import Settings, load_settings
from xero_pipeline.warehouse.connections.cipher import Cipher
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import NoSuchWeek, Week
from xero_pipeline.xero import listing
from xero_pipeline.xero.http import session as session_module
from xero_pipeline.xero.http.session import XeroSession

_ASSETS = ("revenue_weekly", "financial_weekly", "cash_position_weekly")
_BUILD = {
    "revenue_weekly": build_revenue_weekly_asset,
    "financial_weekly": build_financial_weekly_asset,
    "cash_position_weekly": build_cash_position_weekly_asset,
}
_HEALTH_STATE = "xero_pipeline/connection_health"
# The local time at which the daemon looks. In production that is each few minutes; here it is once a day, and soon
# after whatever happens.
_TICKS = (time(6, 25),)
# The laws about what is left over hold once nothing has gone wrong for so long: a failed week waits up to a day.
CALM = timedelta(hours=50)
_QUIET = timedelta(hours=28)
_STARTING = timedelta(days=5)
# On what share of the days and of the Sundays on which nothing can have changed the sensors look all the same.
_QUIET_LOOKS, _QUIET_SUNDAYS = 0.06, 0.4


class SimulatedDeployment(Deployment):
    """A process's part of the deployment, with the simulation's time, network, database and locks."""

    def __init__(self, world: World, process: Process) -> None:
        super().__init__(world.settings, clock=process)
        self._world = world
        self._process = process

    @cached_property
    def warehouse(self) -> Warehouse:
        world, process = self._world, self._process
        locks: Any = SimulatedLocks(world.machine, process)
        warehouse = Warehouse(world.database.engine, Cipher(self.settings.keys), process, locks)
        land = warehouse.land

        def land_and_look(write: Any, **values: Any) -> Any:
            process.is_landing = True
            try:
                result = land(write, **values)
            finally:
                process.is_landing = False
            with world.machine_only():
                world.laws.watch(values["tenant_id"], values["week"], values["log_id"])
            return result

        warehouse.land = land_and_look  # type: ignore[method-assign]
        return warehouse

    @cached_property
    def backend(self) -> XeroBackend:
        transport = SimulatedTransport(self._world.network, self._process)
        return XeroBackend(self._world.app, transport, self._world.mock)

    @cached_property
    def session(self) -> XeroSession:
        budget = self.warehouse.make_call_budget(self.limits)
        draw = random.Random(self._world.draw.getrandbits(32))
        return XeroSession(budget, self.clock, transport=self.backend.transport, random=draw)

    def close(self) -> None:
        """Nothing is closed: the mock and the engine are the world's."""


class _Context:
    """The part of Dagster's context that an asset's code uses."""

    def __init__(self, asset: str, run: Run, weeks: list[Week], world: World) -> None:
        self.asset_key = dg.AssetKey(asset)
        self.partition_keys = [week.key for week in weeks]
        self.run = run
        self.instance = world.dagster
        self.log = world.log
        self.repository_def = SimpleNamespace(has_sensor_def=lambda _name: False)

    def add_asset_metadata(self, *_: Any, **__: Any) -> None:
        return

    def log_event(self, _event: Any) -> None:
        return


@dataclass
class Outcome:
    """How a year ended. `broken` is empty if every law held."""

    seed: int
    broken: list[str]
    events: int
    days: float
    counts: dict[str, int]
    seconds: float = 0.0


class World:
    """See the module."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.draw = random.Random(f"world {plan.seed}")
        self.folder = make_folder()
        self.scheduler = Scheduler(plan.begin)
        self.machine = Machine(self.scheduler, self.draw)
        self.machine.skew = plan.skew
        self.keys = [f"{self.draw.getrandbits(256):064x}"]
        self.settings = self._load_settings()
        self.mock = MockXero(
            self.folder / "xero.db", self.scheduler, organisations=plan.organisations, timezone=plan.xero_zone
        )
        self.app = choose_backend(self.settings, self.scheduler).app
        self.network = Network(self.mock, self.machine)
        self.database = SimulatedDatabase(self.folder, self.machine, postgres=plan.postgres)
        self.mailbox = Mailbox(self.machine)
        self.addresses: list[Any] = [SimulatedAddress(f"mail {n + 1}", self.mailbox) for n in range(plan.addresses)]
        self.truths = {
            one.tenant_id: Truth(self.mock.books(one.tenant_id), self.scheduler.now, cash_basis=False)
            for one in plan.organisations
        }
        self.laws = FigureLaws(self.database.engine, self.truths)
        self.dagster = SimulatedDagster(self.machine, self._execute)
        self.log = logging.getLogger("simulator.run")
        self.log.setLevel(logging.CRITICAL)
        partitions = build_weekly_partitions(self.settings.calendar)
        self.assets: dict[str, Any] = {name: build(self.settings, partitions) for name, build in _BUILD.items()}
        self.machine.on_disaster = self._look_soon
        self.machine.on_end = self._hold_no_permit
        self._busy_until = plan.begin + _STARTING
        self._awaiting_until = self._look_planned_at = plan.begin
        self._synced_on = self._looked_on = date.min
        self._looked_soon: list[datetime] = []
        # A week that has ended is read on Sunday, and once more on Monday if it ends later at Xero.
        self._week_open = (1.5 if plan.zone == plan.xero_zone else 2.5) * DAY
        self.doomed: list[tuple[str, int]] = []
        self.away_until = plan.begin
        self.happened = 0
        self.broken: list[str] = []
        self.hands = 0

    def _load_settings(self) -> Settings:
        addresses = ",".join(f"json://mail{number}.example.com" for number in range(self.plan.addresses))
        with patch.dict("os.environ", {"DAGSTER_HOME": str(self.folder)}):
            return load_settings(
                XERO_MOCK_MODE="true",
                XERO_ENCRYPTION_KEY=self.keys[0],
                XERO_ENCRYPTION_KEYS_RETIRED=",".join(self.keys[1:]),
                DAGSTER_HOME=str(self.folder),
                PIPELINE_TIMEZONE=str(self.plan.zone),
                PIPELINE_START_DATE=self.plan.start_date.isoformat(),
                ALERT_URLS=addresses,
                # A little less than a day, since the daemon looks at fixed hours here.
                RECONCILIATION_SECONDS=79_200 * self.plan.days_between_looks,
                **self.plan.settings,
            )

    def close(self) -> None:
        self.machine.kill_all()
        self.mock.close()
        self.database.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def now(self) -> datetime:
        return self.scheduler.now()

    def weeks(self) -> list[Week]:
        try:
            return self.settings.calendar.list_weeks(self.now())
        except NoSuchWeek:
            return []

    def find_organisation(self, tenant_id: str) -> int:
        """The number of an organisation; of the first one, if there is none of that id."""
        return next((n for n, one in enumerate(self.plan.organisations) if one.tenant_id == tenant_id), 0)

    def is_in_older_block(self, week: Week, within: timedelta) -> bool:
        """Whether a week is in an older block, or will be within that time: those are compared less often."""
        blocks = list_blocks(self.weeks())
        if not blocks:
            return False
        next_block = blocks[-1].first.shift(MAX_BLOCK_WEEKS)
        return week < blocks[-1].first or self.settings.calendar.start_of_day(next_block.ending) < self.now() + within

    @contextlib.contextmanager
    def machine_only(self) -> Iterator[None]:
        """Look at the database without being the process that runs: nothing fails, and no time passes."""
        task, self.scheduler.current = self.scheduler.current, None
        try:
            yield
        finally:
            self.scheduler.current = task

    # The year.

    def live(self, events_only: int | None = None) -> None:
        """Let the year pass, or its first events and two weeks more. Stops at the first broken law."""
        planned = list(self.plan.events if events_only is None else self.plan.events[:events_only])
        end = self.plan.end
        if events_only is not None and events_only < len(self.plan.events):
            last = planned[-1].at if planned else self.plan.begin
            end = min(end, last + 16 * DAY)
        self.start_consent()
        for event in planned:
            self.scheduler.at(event.at, self._make_happen(event))
        day = self.plan.begin.astimezone(self.plan.zone).date()
        for number in range((end - self.plan.begin).days + 1):
            self._plan_day(datetime.combine(day + number * DAY, time(0), self.plan.zone), number)
        while self.now() < end:
            self.scheduler.run(min(end, self.now() + DAY))
            self._collect()
        self._settle()
        self.hold_daily()
        self.hold_secrets()
        self._collect()

    def _make_happen(self, event: Event) -> Callable[[], None]:
        def happen() -> None:
            self.happened += 1
            self.stay_busy(1.25 * DAY)
            events.happen(self, event)

        return happen

    def _plan_day(self, midnight: datetime, number: int) -> None:
        def at(moment: time, action: Callable[[], Any]) -> None:
            self.scheduler.at(datetime.combine(midnight.date(), moment, self.plan.zone).astimezone(UTC), action)

        at(time(5), self.hold_daily)
        at(time(6), lambda: self.syncs_today() and self.start_daily())
        at(time(9), self.read_mail)
        for moment in _TICKS:
            at(moment, lambda: self.looks_today() and self.start_tick())
        if number % 7 == 4:
            at(time(21), self.calm_down)
        if number % 7 == 6:
            at(time(22), self.hold_weekly)

    def stay_busy(self, within: timedelta) -> None:
        """Something may change within that time, so the daemon looks each day."""
        self._busy_until = max(self._busy_until, self.now() + within)

    def await_comparison(self, within: timedelta) -> None:
        """Only the comparison with Xero's totals finds an edit, within that time: the daemon looks as often as that."""
        self._awaiting_until = max(self._awaiting_until, self.now() + within)

    def syncs_today(self) -> bool:
        """Whether the daily sync runs today. It does not on most days on which nothing can have changed.

        On those it would find what it has found before. It runs each day while the promise of a document's edit is not
        over, for a day after whatever else happened and after each run that a sensor asked for, for two days after a
        disaster and when a week has ended, and on a few other days.
        """
        now, day = self.now(), self.now().date()
        weeks = self.weeks()
        by_chance = random.Random(f"look {self.plan.seed} {day}").random()
        has_reason = now < self._busy_until or not weeks or by_chance < _QUIET_LOOKS
        if has_reason or now < self.settings.calendar.start_of_day(weeks[-1].ending) + self._week_open:
            self.machine.counts["days with a daily sync"] += 1
            # The week that has ended is all that is new on a quiet Sunday, and the daily sync reads it.
            if has_reason or by_chance < _QUIET_SUNDAYS:
                self._synced_on = self._looked_on = day
            return True
        return False

    def looks_today(self) -> bool:
        """Whether the sensors look today: after the daily sync, and while a silent edit waits to be found.

        Without a daily sync, `reconciliation` looks half an interval later.
        """
        day = self.now().date()
        if self._synced_on == day:
            return True
        if self.now() < self._awaiting_until and (day - self._looked_on).days >= 1.5 * self.plan.days_between_looks:
            self._looked_on = day
            self.machine.counts["days with a look alone"] += 1
            return True
        return False

    def calm_down(self) -> None:
        """What waited to go wrong does not any more, until the next week."""
        self.network.armed.clear()
        self.network.list_faults.clear()
        self.database.armed.clear()
        self.doomed.clear()

    def _settle(self) -> None:
        for _ in range(200):
            if not self.machine.processes:
                return
            self.scheduler.run(self.now() + timedelta(minutes=10))
        self.broken.append(f"processes do not end: {[process.name for process in self.machine.processes]}")

    def _collect(self) -> None:
        self.broken += self.laws.broken
        self.broken += [f"an alert was told twice: {one}" for one in self.mailbox.problems]
        self.broken += [f"two refreshes for one expiry: {one}" for one in self.network.double_refreshes]
        for found in (self.laws.broken, self.mailbox.problems, self.network.double_refreshes):
            found.clear()
        if self.broken:
            raise LawBroken(self.broken[0])

    # The laws that are held each day and each week.

    def hold_daily(self) -> None:
        self._collect()
        if self.now() - self.machine.disturbed_at < _QUIET or self.now() < self.plan.begin + _STARTING:
            return
        connected = self._list_connected()
        weeks = self._list_settled_weeks()
        for tenant_id in connected:
            if self.now() - self.away_until < 2 * DAY:
                continue
            self.machine.counts["figures compared"] += self.laws.hold_exact(tenant_id, weeks, self.now())
        self._collect()

    def _list_settled_weeks(self) -> list[Week]:
        """The weeks that have been over for long enough to be read, and over at Xero too."""
        return [
            week for week in self.weeks() if self.settings.calendar.start_of_day(week.ending) + 2.4 * DAY < self.now()
        ]

    def _list_connected(self) -> list[str]:
        with self._open_outside() as deployment:
            return [
                one.tenant_id
                for one in deployment.warehouse.tokens.list_organisations()
                if one.status is ConnectionStatus.CONNECTED
            ]

    @contextlib.contextmanager
    def _open_outside(self) -> Iterator[SimulatedDeployment]:
        """The deployment as seen by nobody: no step, no fault."""
        yield SimulatedDeployment(self, Process("nobody", self.machine))

    def hold_weekly(self) -> None:
        self.machine.counts["weeks"] += 1
        if self.now() - self.machine.disturbed_at < CALM or self.now() - self.away_until < CALM:
            return
        self.machine.counts["calm weeks"] += 1
        problems = [
            f"something is left over: {one}" for one in find_leftovers(self.database.engine, self.machine.now())
        ]
        alive = set(self.machine.processes)
        problems += [
            f"a lock is left over: {name}" for name, holder in self.machine.holders.items() if holder not in alive
        ]
        if count_permits(self.database.engine) < self.network.calls:
            problems.append("there were more calls than permits")
        with self._open_outside() as deployment:
            lost = [one.tenant_id for one in deployment.warehouse.tokens.list_organisations()
                    if one.status is not ConnectionStatus.CONNECTED]  # fmt: skip
            if lost or len(self._list_connected()) < len(self.plan.organisations):
                problems.append(f"organisations are not connected although they are at Xero: {lost}")
            log = AlertLog(self.database.engine)
            waiting = log.list_pending([one.label for one in self.addresses], self.machine.now())
            problems += [f"an alert was not told: {cause} to {label}" for cause, label in waiting]
            still_open = log.list_open("run_failure", "day_limit", "connection", "check")
            problems += [f"an alert did not recover: {alert.cause}: {alert.title}" for alert in still_open]
        self.broken += problems
        self._collect()

    def _hold_no_permit(self, process: Process) -> None:
        """A process that ended by itself has given every permit back."""
        if process.names and not (process.is_dead or process.lost_statement):
            left = count_permits_of(self.database.engine, process.names)
            if left:
                self.broken.append(f"{process.name} ended with {left} permits in use")

    def hold_secrets(self) -> None:
        """No secret is in a file or in a message."""
        secrets = [*self.network.secrets, *self.keys, self.app.client_secret]
        texts = [text.encode() for text in self.mailbox.texts]
        texts += [file.read_bytes() for file in self.folder.rglob("*") if file.is_file() and "xero.db" not in file.name]
        for secret in secrets:
            if any(secret.encode() in content for content in texts):
                self.broken.append(f"a secret is in a file or a message: {secret[:6]}…")

    # Processes.

    def _look_soon(self) -> None:
        """In production the sensors look each few minutes: Xero takes a used refresh token for half an hour more."""
        self.stay_busy(CALM)
        within = CALM + (self.plan.days_between_looks + 1) * DAY
        for promises in self.laws.promises.values():
            promises.postpone(self.now(), self.now() + within)
        self.laws.partial_until = self.now() + within
        self.await_comparison(within)
        recent = [moment for moment in self._looked_soon if moment > self.now() - timedelta(hours=4)]
        # While something goes wrong for hours, the daemon looks every two hours here rather than each few minutes.
        self.look_within(timedelta(minutes=18 if len(recent) < 3 else 120))
        if not recent or recent[-1] < self.now() - timedelta(minutes=18):
            self._looked_soon = [*recent, self.now()]

    def look_within(self, within: timedelta) -> None:
        """Have the daemon look within that time: after an edit, a disaster, or a run that a sensor asked for."""
        moment = self.now() + within
        if not self.now() < self._look_planned_at <= moment:
            self._look_planned_at = moment
            self.scheduler.at(moment, lambda: self.start_tick() if moment == self._look_planned_at else None)

    def read_mail(self) -> None:
        """Somebody reads the alerts: connects again if they say so, and syncs the weeks again that they name."""
        with self._open_outside() as deployment:
            lost = any(
                one.status is not ConnectionStatus.CONNECTED for one in deployment.warehouse.tokens.list_organisations()
            )
        if lost and self.now() > self.away_until:
            self.away_until = self.now()
            self.machine.counts["connected again because of an alert"] += 1
            self.start_consent()
            return
        names: set[str] = set()
        for alert in AlertLog(self.database.engine).list_open("run_failure"):
            if alert.opened_at < self.machine.now() - timedelta(hours=20):
                names |= {text for weeks in alert.details.get("failures", {}).values() for text in weeks}
        if names:
            self.machine.counts["synced again because of an alert"] += 1
            self._start_hand_sync(Week(date.fromisoformat(min(names))), Week(date.fromisoformat(max(names))))

    def _start(
        self, kind: str, work: Callable[[Process], None], ended: Callable[[Process], object] = lambda _: None
    ) -> None:
        def guarded(process: Process) -> None:
            self._doom(kind, process)
            try:
                work(process)
            except PipelineError:
                self.machine.counts[f"{kind}: named error"] += 1
            except Exception as error:
                self._note_unnamed(process, error)

        self.machine.start(kind, guarded, ended)

    def _doom(self, kind: str, process: Process) -> None:
        for number, (wanted, step) in enumerate(self.doomed):
            if wanted == kind:
                process.kill_at = process.steps + step
                del self.doomed[number]
                return

    def _note_unnamed(self, process: Process, error: Exception) -> None:
        if process.is_dead:
            return
        where = "".join(traceback.format_exception(error)[-8:])
        self.broken.append(f"an error without a name in {process.name}: {type(error).__name__}: {error}\n{where}")

    def cut_power(self) -> None:
        for process in self.machine.processes:
            process.died_with_machine = True  # type: ignore[attr-defined]
        self.machine.kill_all()
        self.machine.note("power cut")

    def start_consent(self) -> None:
        """Somebody connects all organisations, and tries again if it fails."""

        def work(process: Process) -> None:
            ConnectionService(SimulatedDeployment(self, process)).connect_mock()
            self.consented = True

        def ended(_process: Process) -> None:
            if not self.consented:
                self.away_until = self.now() + timedelta(minutes=30)
                self.scheduler.at(self.now() + timedelta(minutes=20), self.start_consent)

        self.consented = False
        self.stay_busy(CALM)
        self._start("consent", work, ended)

    def start_disconnect(self, tenant_id: str) -> None:
        self.machine.note("disconnected")

        def work(process: Process) -> None:
            ConnectionService(SimulatedDeployment(self, process)).disconnect(tenant_id)

        self._start("disconnect", work)

    def rotate_key(self, draw: random.Random) -> None:
        """Somebody sets a new key; every process that starts from now on has it."""
        self.keys.insert(0, f"{draw.getrandbits(256):064x}")
        self.settings = self._load_settings()
        self._start("rotate", lambda process: _ignore(SimulatedDeployment(self, process).warehouse.tokens.rotate()))
        self.machine.counts["key rotated"] += 1

    def start_daily(self) -> None:
        scheduled_at = self.now().astimezone(self.plan.zone)

        def work(process: Process) -> None:
            planned = plan_daily_sync(SimulatedDeployment(self, process), scheduled_at)
            process.step()
            if isinstance(planned, list):
                self.dagster.launch(planned)

        self._start("tick", work)

    def start_tick(self) -> None:
        """The daemon evaluates every sensor, one after the other."""
        self._start("tick", self._evaluate_sensors)

    def _evaluate_sensors(self, process: Process) -> None:
        deployment = SimulatedDeployment(self, process)
        instance: Any = self.dagster
        per_run = self.settings.organisations_per_run
        alerter = alerts.open_alerter(deployment)
        watch_claims(alerter.log, self.mailbox)
        self._try(process, lambda: self._launch("missing_weeks", GapFinder(deployment), per_run, process))
        self._try(process, lambda: self._launch("late_edits", LateEditFinder(deployment), per_run, process))
        self._try(process, lambda: self._reconcile(deployment, alerter, process))
        self._try(process, lambda: self._check_connections(deployment, alerter))
        self._try(process, lambda: _ignore(FailureMonitor(instance, deployment, alerter).evaluate()))
        self._try(process, lambda: notify_access(deployment, alerter))
        self._try(process, alerter.flush)

    def _try(self, process: Process, evaluate: Callable[[], None]) -> None:
        """Evaluate a sensor. One that fails does not stop the others."""
        try:
            evaluate()
        except PipelineError:
            self.machine.counts["tick failed"] += 1
        except Exception as error:
            self._note_unnamed(process, error)

    def _launch(self, source: str, planner: Any, per_run: int, process: Process) -> None:
        instance: Any = self.dagster
        plan = planner.plan_runs(find_weeks_under_way(instance))
        process.step()
        self._launch_planned(plan.build_run_requests(source, per_run))

    def _reconcile(self, deployment: Deployment, alerter: alerts.Alerter, process: Process) -> None:
        instance: Any = self.dagster
        # A look at a block needs most of a minute's calls; in production a tick comes each minute.
        for _ in range(6):
            process.sleep(70)
            plan = ReconciliationPlanner(deployment, alerter).plan_runs(find_weeks_under_way(instance))
            process.step()
            self._launch_planned([run.to_run_request("reconciliation") for run in plan.runs])
            if "wait for calls" not in plan.skip_reason:
                return

    def _launch_planned(self, requests: list[dg.RunRequest]) -> None:
        if requests:
            self.stay_busy(1.25 * DAY)
        self.dagster.launch(requests)

    def _check_connections(self, deployment: Deployment, alerter: alerts.Alerter) -> None:
        monitor = ConnectionMonitor(deployment, alerter)
        due = json.loads(self.dagster.cursors.get(_HEALTH_STATE, "{}"))
        self.dagster.cursors[_HEALTH_STATE] = json.dumps(monitor.postpone_checks(due))
        self.dagster.cursors[_HEALTH_STATE] = json.dumps(monitor.evaluate(due))

    def start_hand(self, draw: random.Random) -> None:
        """Somebody syncs some weeks on the command line, whatever runs meanwhile."""
        weeks = self.weeks()
        if not weeks:
            return
        last = draw.choice(weeks[-6:])
        self._start_hand_sync(max(weeks[0], last.shift(-draw.choice((0, 0, 1, 4)))), last)

    def _start_hand_sync(self, first: Week, last: Week) -> None:
        self.hands += 1
        self.stay_busy(CALM)
        run_id = f"hand-{self.hands:05d}"

        def work(process: Process) -> None:
            run = self.dagster.begin_own_run(run_id, build_range_tags(first, last), process)
            if self._execute(run, process):
                process.step()
                self.dagster.end_run(run, success=True)
            else:
                self.dagster.end_run(run, success=False)

        self._start("hand", work, lambda process: self.laws_refresh(first, last) if process.is_dead else None)

    def laws_refresh(self, first: Week, last: Week) -> None:
        for organisation in self.plan.organisations:
            self.laws.refresh(organisation.tenant_id, self.settings.calendar.iterate_weeks(first, last))

    def _execute(self, run: Run, process: Process) -> bool:
        """Do what Dagster does with a run, in its process. Returns whether it succeeded."""
        if run.remote_job_origin is not None:
            self._doom("run", process)
        self.machine.counts["runs"] += 1
        deployment = SimulatedDeployment(self, process)
        weeks = parse_run_weeks(run.tags)
        chosen = {key.path[-1] for key in run.request.asset_selection or ()} or set(_ASSETS)
        success = True
        if run.tags.get("source") not in (None, "daily_sync"):
            self.scheduler.at(self.now() + timedelta(minutes=30), lambda: self.look_within(timedelta(minutes=30)))
        try:
            with hold_run_lock(deployment.warehouse.locks, run.run_id):
                process.step()
                self.dagster.add_run_tags(run.run_id, build_worker_tags())
                run_weeks = RunWeeks(
                    build_extractions(self.settings), lambda _: {dg.AssetKey(one): one for one in chosen}
                )
                for name in _ASSETS:
                    if name in chosen:
                        success &= self._materialize(name, run, weeks, deployment, process, run_weeks)
                run_weeks.close(None)
        except PipelineError as error:
            self._report_failure(run, error)
            success = False
        finally:
            if process.is_dead:
                self.scheduler.at(self.now(), lambda: self.laws_refresh(weeks[0], weeks[-1]))
        return success

    def _materialize(
        self,
        name: str,
        run: Run,
        weeks: list[Week],
        deployment: Deployment,
        process: Process,
        run_weeks: RunWeeks,
    ) -> bool:
        config = run.request.run_config.get("ops", {}).get(name, {}).get("config", {})
        function = self.assets[name].op.compute_fn.decorated_fn
        context = _Context(name, run, weeks, self)
        try:
            function(
                context, WeeklySyncConfig(**config), deployment.xero, deployment.warehouse, NoProgress(), run_weeks
            )
        except dg.Failure as failure:
            data = UserFailureData("step", failure.description, failure.metadata)
            self.dagster.add_event(run.run_id, dg.DagsterEventType.STEP_FAILURE, StepFailureData(None, data))
            return False
        except PipelineError as error:
            self._report_failure(run, error)
            return False
        except Exception as error:
            self._note_unnamed(process, error)
            return False
        return True

    def _report_failure(self, run: Run, error: Exception) -> None:
        info = SerializableErrorInfo(str(error), [], type(error).__name__)
        self.dagster.add_event(run.run_id, dg.DagsterEventType.STEP_FAILURE, StepFailureData(info, None))


def _ignore(_result: object) -> None:
    return


def _ask_for_short_pages(page_size: int) -> Callable[..., Any]:
    fetch = listing.ListReader._fetch

    def fetch_short(reader: Any, request: Any, page: int, size: int) -> Any:
        return fetch(reader, request, page, size if size == 1 else choose_page_size(page_size, request))

    return fetch_short


@contextlib.contextmanager
def stand_ins(world: World) -> Iterator[None]:
    """Replace what would make a simulation depend on anything but its seed, or wait."""
    draw = random.Random(f"ids {world.plan.seed}")
    with (
        patch.object(fetch_ahead, "WorkerThreads", InlineThreads),
        patch.object(listing, "WorkerThreads", InlineThreads),
        patch.object(listing.ListReader, "_fetch", _ask_for_short_pages(world.plan.page_size)),
        patch.object(alerts, "read_addresses", lambda _urls: world.addresses),
        # The picture of a table for Dagster's UI: it reads every stored week, and changes nothing.
        patch.object(WeekReports, "_report_table", lambda *_: None),
        patch.object(session_module, "_new_random", lambda: random.Random(draw.getrandbits(32))),
        patch.object(uuid, "uuid4", lambda: uuid.UUID(int=draw.getrandbits(128), version=4)),
    ):
        yield
