"""A simulated year of an organisation without anybody's help, and what must be true at its end.

Time is injected: with `YEAR=full` 52 weeks of daily ticks over both changes of the clocks, two outages of three weeks,
200 late edits (edits, voids, moves across weeks, new documents dated back), the silent edits that the mock's books make
by themselves, a day limit, a disconnect and a reconnect. With `YEAR=part` it ends after 22 weeks, with one outage and
one change of the clocks and before an account gets another type. It runs on request only, since CI's time is limited:
`test_simulator.py` and `make simulate` have more of each.
Every call goes through the real client to the mock. On days on which something fails, each run is a real Dagster run,
since the alerts read Dagster's log. On the other days the test calls the assets' code without Dagster, which would take
most of the time and prove nothing more.
"""

from __future__ import annotations

import json
import logging
import os
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from sqlalchemy import text

from xero_pipeline.assets.cash import build_cash_position_weekly_asset
from xero_pipeline.assets.financial import build_financial_weekly_asset
from xero_pipeline.assets.partitions import build_weekly_partitions
from xero_pipeline.assets.progress import NoProgress
from xero_pipeline.assets.revenue import build_revenue_weekly_asset
from xero_pipeline.assets.run_weeks import RunWeeks
from xero_pipeline.assets.week_reports import WeekReports
from xero_pipeline.assets.week_sync import WeeklySyncConfig
from xero_pipeline.automation.alerts import Alerter, open_alerter
from xero_pipeline.automation.connection_health import ConnectionMonitor
from xero_pipeline.automation.failure_alert import FailureMonitor
from xero_pipeline.automation.late_edits import LateEditFinder
from xero_pipeline.automation.missing_weeks import GapFinder
from xero_pipeline.automation.planning import TickPlan, WeeksUnderWay, parse_run_weeks
from xero_pipeline.automation.reconciliation import ReconciliationCheckFailed, ReconciliationPlanner
from xero_pipeline.connection import ConnectionService
from xero_pipeline.definitions import build_defs
from xero_pipeline.mock_xero import FaultKind, MockFault, MockLine, MockOrganisation, MockTransport, MockXero
from xero_pipeline.mock_xero.books.invented_edits import SilentEdit, list_silent_edits
from xero_pipeline.resources import Deployment, choose_backend
from xero_pipeline.settings import load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.deployment import remove_checks
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest

SYDNEY = ZoneInfo("Australia/Sydney")
TENANT = "mock-tenant-001"
ORGANISATION = MockOrganisation(TENANT, documents=10, silent_edits=True)
BEGIN = date(2025, 8, 31)  # Sydney's clocks change on 5 October 2025 and on 5 April 2026
IS_WHOLE = os.environ.get("YEAR") == "full"
pytestmark = pytest.mark.skipif(not os.environ.get("YEAR"), reason="YEAR=full (or part) runs it")
DAYS = (52 if IS_WHOLE else 22) * 7
# After the year, so that its last edits are found, too.
LAST_DAYS = 8
EDITS = 200 if IS_WHOLE else 80
CALLS_PER_DAY = 400

OUTAGES = [(date(2025, 11, 10), date(2025, 12, 1)), *([(date(2026, 3, 20), date(2026, 4, 10))] if IS_WHOLE else [])]
DAY_LIMIT = date(2026, 1, 14)
DISCONNECTED, RECONNECTED = (
    (date(2026, 6, 9), date(2026, 6, 12)) if IS_WHOLE else (date(2026, 1, 20), date(2026, 1, 23))
)


class FakeContext:
    """The part of Dagster's context that an asset's code uses, without Dagster."""

    log = logging.getLogger("fake_context")
    asset_key = dg.AssetKey("fake_context")

    def __init__(self, weeks: list[Week]) -> None:
        self.partition_keys = [week.key for week in weeks]
        self.run = SimpleNamespace(run_id=str(uuid.uuid4()), tags={}, remote_job_origin=None)
        self.instance = SimpleNamespace(add_run_tags=lambda _run_id, _tags: None)

    def add_asset_metadata(self, *_: Any, **__: Any) -> None:
        return

    def log_event(self, _event: Any) -> None:
        return


class Year:
    """The deployment, its Xero, its clock, and the runs that were started."""

    def __init__(self, folder: Path, alerts_url: str) -> None:
        self.clock = FakeClock(datetime.combine(BEGIN, time(5), SYDNEY).astimezone(UTC))
        self.settings = load_settings(
            XERO_MOCK_MODE="true",
            XERO_ENCRYPTION_KEY="7a" * 32,
            DAGSTER_HOME=str(folder),
            PIPELINE_START_DATE="2025-07-06",
            # Every third day: a look each day takes a third of this test's time.
            RECONCILIATION_SECONDS=3 * 86400,
            # The daily sync reads no closed week again, so the sensors have to find every edit.
            SYNC_LOOKBACK_WEEKS=0,
            XERO_CALLS_PER_DAY=CALLS_PER_DAY,
            # One wait at a time: each wait moves the clock, and weeks that are read side by side wait together.
            XERO_CONCURRENT_CALLS=1,
            ALERT_URLS=alerts_url,
        )
        self.deployment = Deployment(self.settings, clock=self.clock)
        chosen = choose_backend(self.settings, self.clock)
        small = MockXero(folder / "xero.db", self.clock, organisations=(ORGANISATION,))
        self.deployment.backend = replace(chosen, mock=small, transport=MockTransport(small))
        self.deployment.warehouse.migrate()
        assert self.deployment.backend.mock is not None
        self.mock = self.deployment.backend.mock
        self.books = self.mock.books(TENANT)
        self.instance = dg.DagsterInstance.ephemeral()
        definitions = build_defs(
            settings=self.settings,
            resource_overrides={
                "deployment": self.deployment,
                "xero": self.deployment.xero,
                "warehouse": self.deployment.warehouse,
            },
            opener=lambda _settings: nullcontext(self.deployment),
        )
        partitions = build_weekly_partitions(self.settings.calendar)
        self.assets = [
            make(self.settings, partitions)
            for make in (build_financial_weekly_asset, build_revenue_weekly_asset, build_cash_position_weekly_asset)
        ]
        # The asset checks have their own tests.
        self.job = remove_checks(definitions.resolve_job_def("weekly_sync"))
        self.repository = definitions.get_repository_def()
        self.schedule = self.repository.get_schedule_def("daily_sync")
        self.launched_keys: set[str] = set()
        self.runs = Counter[str]()
        self.next_checks: dict[str, str] = {}

    def close(self) -> None:
        self.instance.dispose()
        self.deployment.close()

    def tick(self, moment: datetime) -> None:
        """Do what the daemon does at that moment: evaluate the schedule, if it is due, then every sensor."""
        local = moment.astimezone(SYDNEY)
        self.clock.moment = max(self.clock.moment, moment)
        if local.hour == 6:
            for _ in range(2):  # a tick that is evaluated twice launches one run
                context = dg.build_schedule_context(
                    scheduled_execution_time=local, repository_def=self.repository, instance=self.instance
                )
                self.launch("daily_sync", self.schedule.evaluate_tick(context).run_requests or [])
        self.evaluate_sensor("missing_weeks", lambda: GapFinder(self.deployment).plan_runs(WeeksUnderWay()))
        self.evaluate_sensor("late_edits", lambda: LateEditFinder(self.deployment).plan_runs(WeeksUnderWay()))
        alerter = open_alerter(self.deployment)
        self.reconcile(alerter)
        self.next_checks = ConnectionMonitor(self.deployment, alerter).evaluate(self.next_checks)
        FailureMonitor(self.instance, self.deployment, alerter).evaluate()
        alerter.flush()

    def reconcile(self, alerter: Alerter) -> bool:
        """Evaluate the sensor `reconciliation` and run what it requests. A look that is recorded is not repeated."""
        self.clock.advance(seconds=1)
        # In an outage the tick fails; the next one asks again.
        with suppress(ReconciliationCheckFailed):
            plan = ReconciliationPlanner(self.deployment, alerter).plan_runs(WeeksUnderWay())
            self.clock.advance(seconds=1)
            self.launch("reconciliation", [run.to_run_request("reconciliation") for run in plan.runs])
            return bool(plan.runs)
        return False

    def evaluate_sensor(self, name: str, plan_runs: Callable[[], TickPlan]) -> None:
        first = plan_runs()
        if first.runs:
            second = plan_runs()
            assert [run.key for run in first.runs] == [run.key for run in second.runs], (
                "a second plan has the same keys"
            )
        self.launch(name, [run.to_run_request(name) for run in first.runs])

    def launch(self, source: str, requests: Any) -> None:
        for request in requests:
            if request.run_key not in self.launched_keys:
                self.launched_keys.add(request.run_key)
                name = "balances" if request.asset_selection and source == "late_edits" else source
                self.runs[name] += 1
                (self.run_in_dagster if self.is_failure_day else self.run_without_dagster)(request)

    @property
    def is_failure_day(self) -> bool:
        today = self.clock.now().astimezone(SYDNEY).date()
        return any(abs((today - day).days) <= 1 for day in (DAY_LIMIT, DISCONNECTED, RECONNECTED))

    def run_in_dagster(self, request: dg.RunRequest) -> None:
        self.job.execute_in_process(
            instance=self.instance,
            tags=dict(request.tags),
            run_config={**request.run_config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
            asset_selection=list(request.asset_selection or [asset.key for asset in self.assets]),
        )

    def run_without_dagster(self, request: dg.RunRequest) -> None:
        # Skips the table's picture for Dagster's UI: drawing it reads every stored week.
        with patch.object(WeekReports, "_report_table"):
            self._run_assets(request)

    def _run_assets(self, request: dg.RunRequest) -> None:
        # Each run of Dagster makes new clients, which ask for the chart of accounts anew.
        self.deployment.xero._clients.clear()
        weeks = parse_run_weeks(request.tags)
        chosen = request.asset_selection or [asset.key for asset in self.assets]
        for asset in (asset for asset in self.assets if asset.key in chosen):
            config = request.run_config.get("ops", {}).get(asset.key.path[-1], {}).get("config", {})
            asset.op.compute_fn.decorated_fn(  # type: ignore[union-attr]
                FakeContext(weeks),
                WeeklySyncConfig(**config),
                self.deployment.xero,
                self.deployment.warehouse,
                NoProgress(),
                RunWeeks(),
            )

    @property
    def weeks(self) -> list[Week]:
        return self.settings.calendar.list_weeks(self.clock.now())

    def has_wrong_profit(self, week: Week) -> bool:
        stored, truth = self.deployment.warehouse.read_week_figures(TENANT, week), self.books.profit_and_loss(week)
        return stored.profit_and_loss is None or any(
            stored.profit_and_loss[name] != getattr(truth, name) for name in ("gross_profit", "net_profit")
        )

    def find_wrong_weeks(self) -> list[Week]:
        return [week for week in self.weeks if self.has_wrong_profit(week)]


class Editors:
    """People who change closed weeks in Xero. `edits` records when, how, and which weeks each change affects."""

    def __init__(self, year: Year) -> None:
        self.year = year
        self.random = random.Random(20250831)
        self.edits: list[tuple[datetime, str, set[Week]]] = []

    def edit_something(self) -> None:
        """Make one late edit of a random kind in a random closed week of the last half year."""
        kind = self.random.choice(["edit", "void", "move", "new", "credit"])
        weeks = self.year.weeks[-26:]
        week, other = self.random.choice(weeks), self.random.choice(weeks)
        mock, books = self.year.mock, self.year.books
        documents = [
            document
            for document in books.documents(week)
            if document.kind.value == "ACCREC" and document.status.is_counted and not document.is_foreign
        ]
        chosen = self.random.choice(documents) if documents else None
        affected = {week}
        if chosen is None or kind == "new":
            kind = "new"
            mock.add_invoice(TENANT, date=self.choose_day(week), lines=[self.make_line()])
        elif kind == "edit":
            mock.edit_invoice(
                TENANT, chosen.id, change=Decimal(self.random.randint(-5000, 9000)) / 100 + Decimal("0.01")
            )
        elif kind == "void":
            mock.void_invoice(TENANT, chosen.id)
        elif kind == "move":
            mock.move_invoice(TENANT, chosen.id, self.choose_day(other))
            affected = {week, other}
        else:
            mock.add_credit_note(TENANT, date=self.choose_day(week), lines=[self.make_line()])
        self.edits.append((self.year.clock.now(), kind, affected))

    def choose_day(self, week: Week) -> date:
        return week.start + timedelta(days=self.random.randint(0, 6))

    def make_line(self) -> MockLine:
        return MockLine(
            amount=Decimal(self.random.randint(10_000, 900_000)) / 100,
            revenue_type=self.random.choice(["Residential", "Commercial", "Retrospective", None]),
            region=self.random.choice(["North", "South", None]),
        )


def list_silent_edits_of(year: Year) -> list[SilentEdit]:
    edits = list_silent_edits(ORGANISATION, SYDNEY, year.clock.now())
    return [edit for edit in edits if edit.made_at > datetime.combine(BEGIN, time(5), SYDNEY)]


def is_in_outage(day: date) -> bool:
    return any(first <= day < last for first, last in OUTAGES)


def simulate(year: Year) -> Editors:
    editors = Editors(year)
    ConnectionService(year.deployment).connect_mock()
    days_with_edits = editors.random.choices(range(30, DAYS - 4), k=EDITS)
    for number in range(DAYS):
        day = BEGIN + timedelta(days=number)
        if day == DAY_LIMIT:
            # Another program has used up Xero's calls: the next call is told to wait for nine hours.
            year.mock.add_fault(
                MockFault(
                    FaultKind.STATUS,
                    path="/api.xro/",
                    times=1,
                    status=429,
                    headers={"X-Rate-Limit-Problem": "day", "Retry-After": "32400"},
                )
            )
        if day == DISCONNECTED:
            year.mock.disconnect(TENANT)
        if day == RECONNECTED:
            ConnectionService(year.deployment).connect_mock()
        for hour in (6, 13):
            moment = datetime.combine(day, time(hour), SYDNEY).astimezone(UTC)
            year.clock.moment = max(year.clock.moment, moment)
            # A second tick only on days on which something fails; on the others the next morning's tick suffices.
            if not is_in_outage(day) and (hour == 6 or year.is_failure_day):
                year.tick(moment)
            if hour == 13:
                for _ in range(days_with_edits.count(number)):
                    year.clock.advance(seconds=60)
                    editors.edit_something()
    # The last edits are found by the ticks of the following days.
    for number in range(DAYS, DAYS + LAST_DAYS):
        year.tick(datetime.combine(BEGIN + timedelta(days=number), time(6), SYDNEY).astimezone(UTC))
    return editors


@pytest.fixture(scope="module")
def alerts() -> Iterator[tuple[list[str], str]]:
    """The titles of the alerts that arrived, and the address to send them to."""
    titles: list[str] = []

    def receive(request: SeenRequest) -> Answer:
        titles.append(json.loads(request.body)["title"])
        return Answer(json={})

    with ScriptedServer(receive) as server:
        yield titles, server.url.replace("http://", "json://")


@pytest.fixture(scope="module")
def simulated(
    tmp_path_factory: pytest.TempPathFactory, alerts: tuple[list[str], str]
) -> Iterator[tuple[Year, Editors, list[str]]]:
    year = Year(tmp_path_factory.mktemp("year"), alerts[1])
    editors = simulate(year)
    yield year, editors, alerts[0]
    year.close()


Simulated = tuple[Year, Editors, list[str]]


def test_every_table_equals_the_books_and_every_week_is_there_once(simulated: Simulated) -> None:
    year, _, _ = simulated
    for week in year.weeks:
        stored = year.deployment.warehouse.read_week_figures(TENANT, week)
        truth = year.books.profit_and_loss(week)
        assert stored.profit_and_loss is not None, week
        for name in ("total_trading_income", "cost_of_sales", "gross_profit", "operating_expenses", "net_profit"):
            assert stored.profit_and_loss[name] == getattr(truth, name), (week, name)
        lines = {line["account_id"]: line["amount"] for line in stored.lines if line["amount"]}
        assert lines == {key: amount for key, amount in truth.lines.items() if amount}, week
        cells = {(cell["revenue_type"], cell["region"]): cell for cell in stored.revenue}
        expected = year.books.revenue(week)
        assert cells.keys() == expected.keys(), week
        for key, cell in expected.items():
            for name in ("invoiced", "credited", "net_revenue", "tax", "invoice_count", "credit_note_count"):
                assert cells[key][name] == getattr(cell, name), (week, key, name)
        accounts = {account["bank_account_id"]: account for account in stored.cash}
        for key, movement in year.books.bank(week).items():
            for name in ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance"):
                assert accounts[key][name] == getattr(movement, name), (week, key, name)


def test_every_restatement_is_recorded_from_the_first_figure_to_the_last(simulated: Simulated) -> None:
    year, editors, _ = simulated
    landed = year.deployment.warehouse.log.list_landed_weeks(TENANT, date(2000, 1, 1))["invoices"]
    chains: dict[tuple[Week, str, str, str], list[Any]] = {}
    for restatement in reversed(year.deployment.warehouse.list_restatements()):
        key = restatement.week, restatement.table_name, restatement.row_key, restatement.column_name
        chains.setdefault(key, []).append(restatement)
    for key, chain in chains.items():
        for before, after in pairwise(chain):
            assert before.new_value == after.old_value, key
        assert all(restatement.old_value != restatement.new_value for restatement in chain), key
    net_profit = {week: chain[-1].new_value for (week, _, _, column), chain in chains.items() if column == "net_profit"}
    for week, value in net_profit.items():
        assert Decimal(value) == year.books.profit_and_loss(week).net_profit
    restatements = {(restatement.week, restatement.restated_at) for chain in chains.values() for restatement in chain}
    for edited_at, kind, weeks in editors.edits:
        for week in weeks:
            assert week in landed
            assert any(w == week and at > edited_at for w, at in restatements), (edited_at, kind, week)


def test_silent_edits_of_each_kind_were_made_and_every_one_is_a_restatement(simulated: Simulated) -> None:
    year, _, _ = simulated
    edits = list_silent_edits_of(year)
    kinds = {"journal", "bank movement", "payroll"} | ({"retyped account"} if IS_WHOLE else set())
    assert {edit.kind for edit in edits} == kinds
    # The sensor `late_edits` sees documents alone; `reconciliation` found the others.
    assert year.runs["reconciliation"] > 0
    assert year.find_wrong_weeks() == []
    restated = {
        (row.week, row.column_name): row.restated_at for row in reversed(year.deployment.warehouse.list_restatements())
    }
    for edit in edits:
        column = "gross_profit" if edit.account else "net_profit"
        days = {entry.day for entry in edit.entries} or {week.start for week in year.weeks}
        for week in year.weeks:
            if any(week.start <= day <= week.ending for day in days) and week.ending < edit.made_at.date():
                assert restated[week, column] > edit.made_at, (edit, week)


def test_every_edit_was_made_and_none_of_them_was_run_twice(simulated: Simulated) -> None:
    year, editors, _ = simulated
    assert len(editors.edits) == EDITS
    assert {kind for _, kind, _ in editors.edits} == {"edit", "void", "move", "new", "credit"}
    mornings = [BEGIN + timedelta(days=number) for number in range(DAYS + LAST_DAYS)]
    expected = [day for day in mornings if not is_in_outage(day) and not DISCONNECTED < day < RECONNECTED]
    assert year.runs["daily_sync"] == len(expected)
    assert 0 < year.runs["late_edits"] <= sum(len(weeks) for _, _, weeks in editors.edits)
    # An edit of a paid invoice moves every later balance: one more run reads those bank summaries.
    assert 0 < year.runs["balances"] <= EDITS


def test_no_day_uses_more_calls_than_the_budget(simulated: Simulated) -> None:
    year, _, _ = simulated
    with year.deployment.warehouse.engine.connect() as connection:
        permit_count = connection.execute(text("SELECT count(*) FROM call_slots")).scalar_one()
    assert permit_count <= CALLS_PER_DAY + 10
    call_times = sorted(
        datetime.fromisoformat(str(request["at"]))
        for request in year.mock.request_log()
        if request["tenant_id"] == TENANT and str(request["path"]).startswith("/api.xro/")
    )
    first = 0
    for number, moment in enumerate(call_times):
        while moment - call_times[first] >= timedelta(days=1):
            first += 1
        assert number - first + 1 <= CALLS_PER_DAY, moment


def test_the_alerts_are_exactly_the_expected_ones(simulated: Simulated) -> None:
    _, _, titles = simulated
    assert titles == [
        "Mock Organisation: Xero's calls for today are spent",
        "Recovered: Mock Organisation: Xero's calls for today are spent",
        "Mock Organisation: the connection to Xero has ended",
        "Recovered: Mock Organisation: the connection to Xero has ended",
    ]
