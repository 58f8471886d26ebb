"""A year of an organisation that nobody looks after: what happens in it, and what must be true at its end.

Time is injected: 52 weeks of daily ticks over both changes of the clocks, two outages of three weeks, 200 late
edits (edits, voids, moves across weeks, new documents dated back), a day limit, a disconnect and a reconnect.
Every call goes through the real client to the mock. In the weeks in which something fails, each run is a real
Dagster run, since what speaks up reads Dagster's log; in the others the assets' own code is called without
Dagster around it, which would take most of the time and prove nothing more.
"""

from __future__ import annotations

import json
import logging
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
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

from xero_pipeline.assets.cash import cash_position_weekly_asset
from xero_pipeline.assets.financial import financial_weekly_asset
from xero_pipeline.assets.partitions import weekly_partitions
from xero_pipeline.assets.progress import NoProgress
from xero_pipeline.assets.revenue import revenue_weekly_asset
from xero_pipeline.assets.week_sync import WeeklySyncConfig, WeekSync
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.connection_health import HealthCheck
from xero_pipeline.automation.failure_alert import FailureMonitor
from xero_pipeline.automation.late_edits import LateEdits
from xero_pipeline.automation.missing_weeks import GapFinder
from xero_pipeline.automation.planning import Plan, weeks_of_run
from xero_pipeline.connection import ConnectionService
from xero_pipeline.definitions import build_defs
from xero_pipeline.mock_xero import FaultKind, MockFault, MockLine, MockOrganisation, MockTransport, MockXero
from xero_pipeline.resources import Deployment, choose_xero
from xero_pipeline.settings import load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.deployment import without_checks
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest

SYDNEY = ZoneInfo("Australia/Sydney")
TENANT = "mock-tenant-001"
BEGIN = date(2025, 8, 31)  # Sydney's clocks change on 5 October 2025 and on 5 April 2026
DAYS = 52 * 7
EDITS = 200
CALLS_PER_DAY = 400

OUTAGES = [(date(2025, 11, 10), date(2025, 12, 1)), (date(2026, 3, 20), date(2026, 4, 10))]
DAY_LIMIT = date(2026, 1, 14)
DISCONNECTED, RECONNECTED = date(2026, 6, 9), date(2026, 6, 12)


class Alone:
    """What an asset's code asks of Dagster, without Dagster."""

    log = logging.getLogger("alone")
    asset_key = dg.AssetKey("alone")

    def __init__(self, weeks: list[Week]) -> None:
        self.partition_keys = [week.key for week in weeks]
        self.run = SimpleNamespace(run_id=str(uuid.uuid4()), tags={})
        self.instance = SimpleNamespace(add_run_tags=lambda _run_id, _tags: None)

    def add_asset_metadata(self, *_: Any, **__: Any) -> None:
        return

    def log_event(self, _event: Any) -> None:
        return


class Year:
    """The deployment, its Xero, its clock, and everything that was sent or started."""

    def __init__(self, folder: Path, alerts_url: str) -> None:
        self.clock = FakeClock(datetime.combine(BEGIN, time(5), SYDNEY).astimezone(UTC))
        self.settings = load_settings(
            XERO_MOCK_MODE="true",
            XERO_ENCRYPTION_KEY="7a" * 32,
            DAGSTER_HOME=str(folder),
            PIPELINE_START_DATE="2025-07-06",
            # What no morning reads again, the sensors have to find.
            SYNC_LOOKBACK_WEEKS=0,
            XERO_CALLS_PER_DAY=CALLS_PER_DAY,
            ALERT_URLS=alerts_url,
        )
        self.deployment = Deployment(self.settings, clock=self.clock)
        chosen = choose_xero(self.settings, self.clock)
        small = MockXero(folder / "xero.db", self.clock, organisations=(MockOrganisation(documents=10),))
        self.deployment.chosen = replace(chosen, mock=small, transport=MockTransport(small))
        self.deployment.warehouse.migrate()
        assert self.deployment.chosen.mock is not None
        self.mock = self.deployment.chosen.mock
        self.books = self.mock.books(TENANT)
        self.instance = dg.DagsterInstance.ephemeral()
        definitions = build_defs(
            settings=self.settings,
            resource_overrides={
                "deployment": self.deployment,
                "xero": self.deployment.xero,
                "warehouse": self.deployment.warehouse,
            },
            opening=lambda _settings: nullcontext(self.deployment),
        )
        partitions = weekly_partitions(self.settings.calendar)
        self.assets = [
            make(self.settings, partitions)
            for make in (financial_weekly_asset, revenue_weekly_asset, cash_position_weekly_asset)
        ]
        # The asset checks have tests of their own.
        self.job = without_checks(definitions.resolve_job_def("weekly_sync"))
        self.repository = definitions.get_repository_def()
        self.schedule = self.repository.get_schedule_def("daily_sync")
        self.keys: set[str] = set()
        self.runs = Counter[str]()
        self.due: dict[str, str] = {}

    def close(self) -> None:
        self.instance.dispose()
        self.deployment.close()

    def tick(self, moment: datetime) -> None:
        """What the daemon does at that moment: the schedule first, if it is due, then every sensor."""
        local = moment.astimezone(SYDNEY)
        self.clock.moment = max(self.clock.moment, moment)
        if local.hour == 6:
            for _ in range(2):  # evaluated twice, it launches once
                context = dg.build_schedule_context(
                    scheduled_execution_time=local, repository_def=self.repository, instance=self.instance
                )
                self.launch("daily_sync", self.schedule.evaluate_tick(context).run_requests or [])
        self.sense("missing_weeks", lambda: GapFinder(self.deployment).plan(set()))
        self.sense("late_edits", lambda: LateEdits(self.deployment).plan(set()))
        alerter = open_alerter(self.deployment)
        self.due = HealthCheck(self.deployment, alerter).look(self.due)
        FailureMonitor(self.instance, self.deployment, alerter).look()
        alerter.flush()

    def sense(self, name: str, plan: Any) -> None:
        first: Plan = plan()
        if first.runs:
            again: Plan = plan()
            assert [run.key for run in first.runs] == [run.key for run in again.runs], "the same look, the same keys"
        self.launch(name, [run.request(name) for run in first.runs])

    def launch(self, source: str, requests: Any) -> None:
        for request in requests:
            if request.run_key not in self.keys:
                self.keys.add(request.run_key)
                self.runs["balances" if request.asset_selection else source] += 1
                (self.run_in_dagster if self.something_fails else self.run_alone)(request)

    @property
    def something_fails(self) -> bool:
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

    def run_alone(self, request: dg.RunRequest) -> None:
        # Neither the picture of the table that Dagster's UI shows: it is drawn from every week that is held.
        with patch.object(WeekSync, "_report_table"):
            self._run_alone(request)

    def _run_alone(self, request: dg.RunRequest) -> None:
        weeks = weeks_of_run(request.tags)
        chosen = request.asset_selection or [asset.key for asset in self.assets]
        for asset in (asset for asset in self.assets if asset.key in chosen):
            named = request.run_config.get("ops", {}).get(asset.key.path[-1], {}).get("config", {})
            asset.op.compute_fn.decorated_fn(  # type: ignore[union-attr]
                Alone(weeks), WeeklySyncConfig(**named), self.deployment.xero, self.deployment.warehouse, NoProgress()
            )

    @property
    def weeks(self) -> list[Week]:
        return self.settings.calendar.list_weeks(self.clock.now())


class Editors:
    """People who change closed weeks in Xero: which weeks each change touches is what they remember."""

    def __init__(self, year: Year) -> None:
        self.year = year
        self.chance = random.Random(20250831)
        self.touched: list[tuple[datetime, str, set[Week]]] = []

    def edit_something(self) -> None:
        """One late edit of a random kind in a random closed week of the last half year."""
        kind = self.chance.choice(["edit", "void", "move", "new", "credit"])
        weeks = self.year.weeks[-26:]
        week, other = self.chance.choice(weeks), self.chance.choice(weeks)
        mock, books = self.year.mock, self.year.books
        documents = [
            one
            for one in books.documents(week)
            if one.kind.value == "ACCREC" and one.status.is_counted and not one.is_foreign
        ]
        chosen = self.chance.choice(documents) if documents else None
        touched = {week}
        if chosen is None or kind == "new":
            kind = "new"
            mock.add_invoice(TENANT, date=self.day_in(week), lines=[self.line()])
        elif kind == "edit":
            mock.edit_invoice(
                TENANT, chosen.id, change=Decimal(self.chance.randint(-5000, 9000)) / 100 + Decimal("0.01")
            )
        elif kind == "void":
            mock.void_invoice(TENANT, chosen.id)
        elif kind == "move":
            mock.move_invoice(TENANT, chosen.id, self.day_in(other))
            touched = {week, other}
        else:
            mock.add_credit_note(TENANT, date=self.day_in(week), lines=[self.line()])
        self.touched.append((self.year.clock.now(), kind, touched))

    def day_in(self, week: Week) -> date:
        return week.start + timedelta(days=self.chance.randint(0, 6))

    def line(self) -> MockLine:
        return MockLine(
            amount=Decimal(self.chance.randint(10_000, 900_000)) / 100,
            revenue_type=self.chance.choice(["Residential", "Commercial", "Retrospective", None]),
            region=self.chance.choice(["North", "South", None]),
        )


def in_outage(day: date) -> bool:
    return any(first <= day < last for first, last in OUTAGES)


def live_through(year: Year) -> Editors:
    editors = Editors(year)
    ConnectionService(year.deployment).connect_mock()
    days_with_edits = editors.chance.choices(range(30, DAYS - 4), k=EDITS)
    for number in range(DAYS):
        day = BEGIN + timedelta(days=number)
        if day == DAY_LIMIT:
            # Another program has spent Xero's calls: three tries of ours are told to wait for nine hours.
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
            # A second look a day where it matters; elsewhere the next morning's does.
            if not in_outage(day) and (hour == 6 or year.something_fails):
                year.tick(moment)
            if hour == 13:
                for _ in range(days_with_edits.count(number)):
                    year.clock.advance(seconds=60)
                    editors.edit_something()
    return editors


@pytest.fixture(scope="module")
def sent() -> Iterator[tuple[list[str], str]]:
    """The titles of the alerts that arrived, and where to send them."""
    titles: list[str] = []

    def receive(request: SeenRequest) -> Answer:
        titles.append(json.loads(request.body)["title"])
        return Answer(json={})

    with ScriptedServer(receive) as server:
        yield titles, server.url.replace("http://", "json://")


@pytest.fixture(scope="module")
def lived(
    tmp_path_factory: pytest.TempPathFactory, sent: tuple[list[str], str]
) -> Iterator[tuple[Year, Editors, list[str]]]:
    year = Year(tmp_path_factory.mktemp("year"), sent[1])
    editors = live_through(year)
    yield year, editors, sent[0]
    year.close()


Lived = tuple[Year, Editors, list[str]]


def test_every_table_equals_what_the_books_say_and_every_week_is_there_once(lived: Lived) -> None:
    year, _, _ = lived
    for week in year.weeks:
        held = year.deployment.warehouse.week_figures(TENANT, week)
        truth = year.books.profit_and_loss(week)
        assert held.profit_and_loss is not None, week
        for name in ("total_trading_income", "cost_of_sales", "gross_profit", "operating_expenses", "net_profit"):
            assert held.profit_and_loss[name] == getattr(truth, name), (week, name)
        lines = {line["account_id"]: line["amount"] for line in held.lines if line["amount"]}
        assert lines == {key: amount for key, amount in truth.lines.items() if amount}, week
        cells = {(cell["revenue_type"], cell["region"]): cell for cell in held.revenue}
        wanted = year.books.revenue(week)
        assert cells.keys() == wanted.keys(), week
        for key, cell in wanted.items():
            for name in ("invoiced", "credited", "net_revenue", "tax", "invoice_count", "credit_note_count"):
                assert cells[key][name] == getattr(cell, name), (week, key, name)
        accounts = {account["bank_account_id"]: account for account in held.cash}
        for key, movement in year.books.bank(week).items():
            for name in ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance"):
                assert accounts[key][name] == getattr(movement, name), (week, key, name)


def test_every_restatement_is_recorded_from_the_first_figure_to_the_last(lived: Lived) -> None:
    year, editors, _ = lived
    landed = year.deployment.warehouse.log.landed_weeks(TENANT, date(2000, 1, 1))["invoices"]
    chains: dict[tuple[Week, str, str, str], list[Any]] = {}
    for one in reversed(year.deployment.warehouse.restatements()):
        chains.setdefault((one.week, one.table_name, one.row_key, one.column_name), []).append(one)
    for key, chain in chains.items():
        for before, after in pairwise(chain):
            assert before.new_value == after.old_value, key
        assert all(one.old_value != one.new_value for one in chain), key
    net_profit = {week: chain[-1].new_value for (week, _, _, column), chain in chains.items() if column == "net_profit"}
    for week, value in net_profit.items():
        assert Decimal(value) == year.books.profit_and_loss(week).net_profit
    restated_after = {(one.week, one.restated_at) for chain in chains.values() for one in chain}
    for edited_at, kind, weeks in editors.touched:
        for week in weeks:
            assert week in landed
            assert any(w == week and at > edited_at for w, at in restated_after), (edited_at, kind, week)


def test_two_hundred_edits_were_made_and_nothing_was_run_twice_for_one_of_them(lived: Lived) -> None:
    year, editors, _ = lived
    assert len(editors.touched) == EDITS
    assert {kind for _, kind, _ in editors.touched} == {"edit", "void", "move", "new", "credit"}
    mornings = [BEGIN + timedelta(days=number) for number in range(DAYS)]
    expected = [day for day in mornings if not in_outage(day) and not DISCONNECTED < day < RECONNECTED]
    assert year.runs["daily_sync"] == len(expected)
    assert 0 < year.runs["late_edits"] <= sum(len(weeks) for _, _, weeks in editors.touched)
    # An edit of a paid invoice moves every later balance: one more run reads those bank summaries.
    assert 0 < year.runs["balances"] <= EDITS


def test_the_calls_of_no_day_pass_the_budget(lived: Lived) -> None:
    year, _, _ = lived
    with year.deployment.warehouse.engine.connect() as connection:
        kept = connection.execute(text("SELECT count(*) FROM call_slots")).scalar_one()
    assert kept <= CALLS_PER_DAY + 10
    spent = sorted(
        datetime.fromisoformat(str(one["at"]))
        for one in year.mock.request_log()
        if one["tenant_id"] == TENANT and str(one["path"]).startswith("/api.xro/")
    )
    first = 0
    for number, moment in enumerate(spent):
        while moment - spent[first] >= timedelta(days=1):
            first += 1
        assert number - first + 1 <= CALLS_PER_DAY, moment


def test_the_alerts_are_exactly_the_expected_ones(lived: Lived) -> None:
    _, _, titles = lived
    assert titles == [
        "Mock Organisation: Xero's calls for today are spent",
        "Recovered: Mock Organisation: Xero's calls for today are spent",
        "Mock Organisation: the connection to Xero has ended",
        "Recovered: Mock Organisation: the connection to Xero has ended",
    ]
