"""Weeks materialised by a real Dagster run over the mock Xero: what lands, what is said, what stays on failure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import text

from xero_pipeline.automation.jobs import ASSETS
from xero_pipeline.automation.planning import resting_weeks
from xero_pipeline.mock_xero import FaultKind, MockFault, MockOrganisation
from xero_pipeline.warehouse.errors import DatabaseUnavailable
from xero_pipeline.warehouse.logs.sync_log import SyncLog
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline_tests.deployment import SECOND, SMALL, TENANT, Running, failing_checks, running


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[Week, Mapping[str, Any]]:
    """The last event of each week: what Dagster shows of it."""
    return {
        Week.from_key(str(event.partition)): {
            name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.all_events
        if event.is_step_materialization and event.asset_key == dg.AssetKey(asset)
    }


def lines(at: Running, week: Week, tenant_id: str = TENANT) -> dict[str, Decimal]:
    return {row["account_id"]: row["amount"] for row in at.warehouse.week_figures(tenant_id, week).lines}


def test_a_week_lands_with_the_figures_of_the_books(tmp_path: Path, database_url: str) -> None:
    with running(tmp_path, database_url=database_url) as at:
        result = at.sync()

        assert result.success
        held, books = at.warehouse.week_figures(TENANT, at.latest), at.mock.books(TENANT)
        truth = books.profit_and_loss(at.latest)
        assert lines(at, at.latest) == truth.lines
        assert held.profit_and_loss is not None
        for name in ("total_trading_income", "cost_of_sales", "gross_profit", "operating_expenses", "net_profit"):
            assert held.profit_and_loss[name] == getattr(truth, name)
        assert {(row["revenue_type"], row["region"]): row["net_revenue"] for row in held.revenue} == {
            place: cell.net_revenue for place, cell in books.revenue(at.latest).items()
        }
        assert {row["bank_account_id"]: row["closing_balance"] for row in held.cash} == {
            bank_id: movement.closing_balance for bank_id, movement in books.bank(at.latest).items()
        }
        assert {at.latest} == at.materialised("financial_weekly") == at.materialised("cash_position_weekly")


def test_a_week_leaves_a_row_of_the_sync_log_for_each_kind_of_its_run(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        run_id = at.sync().run_id
        entries = at.warehouse.log.newest(10)
    assert sorted(entry.sync_type for entry in entries) == ["bank_summary", "invoices", "profit_and_loss"]
    assert {(entry.status, entry.dagster_run_id, entry.week) for entry in entries} == {("success", run_id, at.latest)}
    assert all(entry.record_count and entry.api_calls for entry in entries)


def test_a_materialised_week_says_who_how_much_and_what_it_cost(tmp_path: Path) -> None:
    with running(tmp_path, organisations=(SMALL, SECOND)) as at:
        result = at.sync()
        said = metadata(result, "financial_weekly")[at.latest]
        truth = [at.mock.books(tenant).profit_and_loss(at.latest) for tenant in (TENANT, SECOND.tenant_id)]
    assert said["week_ending"] == str(at.latest)
    assert said["organisations"] == "Mock Organisation, Second Organisation"
    assert said["dagster/partition_row_count"] == sum(1 + len(one.lines) for one in truth)
    assert said["api_calls"] > 0
    assert said["restated"] == 0
    assert said["net_profit"] == pytest.approx(float(sum(one.net_profit for one in truth)))
    assert said["figures"]["Second Organisation"] == {
        "currency": "AUD",
        "status": "success",
        **{
            name: str(getattr(truth[1], name))
            for name in (
                "total_trading_income",
                "cost_of_sales",
                "gross_profit",
                "other_income",
                "operating_expenses",
                "net_profit",
            )
        },
    }


def test_a_range_is_one_run_with_a_result_a_week(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        weeks = [at.latest.shift(-n) for n in (2, 1, 0)]
        result = at.sync(weeks[0], weeks[-1], checks=True)

        assert result.success
        for asset in ASSETS:
            said = metadata(result, asset)
            assert at.materialised(asset) == set(weeks) == set(said)
            assert {week: one["week_ending"] for week, one in said.items()} == {week: str(week) for week in weeks}
        income = {week: one["total_trading_income"] for week, one in metadata(result, "financial_weekly").items()}
        books = at.mock.books(TENANT)
        assert income == {week: float(books.profit_and_loss(week).total_trading_income) for week in weeks}
        assert len({entry.dagster_run_id for entry in at.warehouse.log.newest(20)}) == 1
        assert failing_checks(result) == {}


def test_every_week_keeps_its_columns_and_the_newest_tells_of_the_whole_table(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        older = at.latest.shift(-1)
        result = at.sync(older, at.latest)
        rows = sum(1 + len(at.mock.books(TENANT).profit_and_loss(week).lines) for week in (older, at.latest))
        for asset in ASSETS:
            said = metadata(result, asset)
            assert {"tenant_id", "week_ending", "currency"} <= {
                column.name for column in said[older]["dagster/column_schema"].columns
            }
            assert said[at.latest]["last_weeks"].startswith(f"Mock Organisation, 2 weeks to {at.latest}: ")
            assert set(said[older]).isdisjoint({"last_weeks", "dagster/row_count"})
        assert metadata(result, "financial_weekly")[at.latest]["dagster/row_count"] == rows


def test_each_organisation_has_its_own_picture(tmp_path: Path) -> None:
    with running(tmp_path, organisations=(SMALL, SECOND)) as at:
        said = metadata(at.sync(), "revenue_weekly")[at.latest]
    assert {name for name in said if name.startswith("last_weeks")} == {
        "last_weeks of Mock Organisation",
        "last_weeks of Second Organisation",
    }


def test_two_organisations_of_one_name_are_told_apart(tmp_path: Path) -> None:
    twin = MockOrganisation(tenant_id="mock-tenant-002", name=SMALL.name, documents=6)
    with running(tmp_path, organisations=(SMALL, twin)) as at:
        said = metadata(at.sync(), "revenue_weekly")[at.latest]
    names = {f"{SMALL.name} ({tenant})" for tenant in (TENANT, twin.tenant_id)}
    assert set(said["figures"]) == names
    assert {name for name in said if name.startswith("last_weeks")} == {f"last_weeks of {name}" for name in names}


def test_what_dagster_keeps_of_a_week_is_small(tmp_path: Path) -> None:
    """Events are kept for ever, and a daily sync writes five weeks of three tables again."""
    with running(tmp_path) as at:
        result = at.sync(at.latest.shift(-1), at.latest)
    sizes = [
        len(dg.serialize_value(event.step_materialization_data.materialization))
        for event in result.all_events
        if event.is_step_materialization
    ]
    assert len(sizes) == 12
    assert max(sizes) < 8_000


def test_a_run_is_tagged_with_its_weeks_and_organisations_whoever_started_it(tmp_path: Path) -> None:
    with running(tmp_path, organisations=(SMALL, SECOND)) as at:
        job = at.definitions.resolve_implicit_global_asset_job_def()
        started = job.get_subset(asset_selection={dg.AssetKey("cash_position_weekly")}).execute_in_process(
            instance=at.instance, partition_key=at.latest.key
        )
        run = at.instance.get_run_by_id(started.run_id)
        ranged = at.instance.get_run_by_id(at.sync(at.latest.shift(-1), at.latest).run_id)
    assert run is not None
    assert (run.tags["week_ending"], run.tags["organisation"]) == (
        str(at.latest),
        "Mock Organisation, Second Organisation",
    )
    assert ranged is not None
    assert ranged.tags["week_ending"] == f"{at.latest.shift(-1)} to {at.latest}"


def test_syncing_again_changes_no_figure_and_restates_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        at.sync()
        before = at.warehouse.week_figures(TENANT, at.latest)
        at.clock.advance(minutes=1)
        result = at.sync()
        assert at.warehouse.week_figures(TENANT, at.latest) == before
        assert [metadata(result, asset)[at.latest]["restated"] for asset in ASSETS] == [0, 0, 0]


def test_a_week_that_was_edited_in_xero_says_what_changed(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        at.sync()
        edited = next(one for one in at.mock.books(TENANT).documents(at.latest) if one.kind.value == "ACCREC")
        at.clock.advance(hours=1)
        at.mock.edit_invoice(TENANT, edited.id, change=Decimal("100.00"))
        result = at.sync()
        said = metadata(result, "revenue_weekly")[at.latest]
        kept = at.warehouse.restatements(week=at.latest)
    assert said["restated"] > 0
    assert "| invoiced |" in said["what_changed"]
    assert {one.dagster_run_id for one in kept} == {result.run_id}
    assert {one.table_name for one in kept} >= {"revenue_weekly", "financial_weekly", "financial_weekly_lines"}


def test_one_organisation_failing_stops_no_other_and_no_other_week(tmp_path: Path) -> None:
    with running(tmp_path, organisations=(SMALL, SECOND)) as at:
        weeks = [at.latest.shift(-n) for n in (2, 1, 0)]
        # The second organisation's profit and loss of the middle week.
        at.mock.add_fault(
            MockFault(
                FaultKind.STATUS,
                path="ProfitAndLoss",
                tenant_id=SECOND.tenant_id,
                skip=1,
                times=1,
                status=400,
                body="{}",
            )
        )
        result = at.sync(weeks[0], weeks[-1], checks=True)

        assert not result.success
        assert at.materialised("financial_weekly") == {weeks[0], weeks[2]}
        for week in weeks:
            assert lines(at, week) == at.mock.books(TENANT).profit_and_loss(week).lines
        assert at.warehouse.week_figures(SECOND.tenant_id, weeks[1]).profit_and_loss is None
        failed = at.warehouse.log.newest(50, status="failed")
        assert [(entry.tenant_id, entry.sync_type, entry.week) for entry in failed] == [
            (SECOND.tenant_id, "profit_and_loss", weeks[1])
        ]
        # What has nothing to do with it landed, and was looked at.
        assert at.materialised("cash_position_weekly") == set(weeks)
        assert failing_checks(result) == {}


def test_a_failing_week_names_itself_and_its_organisation_in_the_run(tmp_path: Path) -> None:
    with running(tmp_path, organisations=(SMALL, SECOND)) as at:
        at.mock.add_fault(MockFault(FaultKind.NO_REPORTS, path="ProfitAndLoss", tenant_id=SECOND.tenant_id, times=None))
        result = at.sync()
        (failure,) = result.filter_events(lambda event: event.is_step_failure)
    said = failure.step_failure_data.user_failure_data
    assert said is not None
    assert said.description is not None
    assert f"Second Organisation, week ending {at.latest}" in said.description
    assert said.metadata["failed_weeks"].value == [str(at.latest)]
    assert said.metadata["organisations"].value == ["Second Organisation"]


def test_an_organisation_alone_is_synced_where_a_run_names_it(tmp_path: Path) -> None:
    with running(tmp_path, organisations=(SMALL, SECOND)) as at:
        assert at.sync(organisations=[SECOND.tenant_id]).success
        assert at.warehouse.week_figures(TENANT, at.latest).profit_and_loss is None
        assert at.warehouse.week_figures(SECOND.tenant_id, at.latest).profit_and_loss is not None


def test_a_week_before_the_books_began_lands_empty(tmp_path: Path) -> None:
    empty = Week(date(2014, 12, 6))
    with running(tmp_path, PIPELINE_START_DATE="2014-11-30") as at:
        result = at.sync(empty, checks=True)
        assert result.success
        held = at.warehouse.week_figures(TENANT, empty)
        assert held.profit_and_loss is not None
        assert held.profit_and_loss["net_profit"] == Decimal("0.00")
        assert (held.lines, held.revenue) == ([], [])
        assert {row["closing_balance"] for row in held.cash} <= {Decimal("0.00")}
        assert metadata(result, "revenue_weekly")[empty]["dagster/partition_row_count"] == 0
        assert {entry.status for entry in at.warehouse.log.newest(3)} == {"success"}
        assert not {key for key in failing_checks(result) if not key.endswith(".fresh")}


def test_a_week_that_fails_while_it_is_written_leaves_what_was_held(tmp_path: Path) -> None:
    """The database refuses the last of the lines; the totals before it must not stay either."""
    with running(tmp_path) as at:
        at.sync()
        before = at.warehouse.week_figures(TENANT, at.latest)
        edited = next(one for one in at.mock.books(TENANT).documents(at.latest) if one.kind.value == "ACCREC")
        at.mock.edit_invoice(TENANT, edited.id, change=Decimal("100.00"))
        refuse = "BEFORE {} ON {} BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        with at.warehouse.engine.begin() as connection:
            connection.execute(text("CREATE TRIGGER t1 " + refuse.format("UPDATE", "financial_weekly_lines")))
            connection.execute(text("CREATE TRIGGER t2 " + refuse.format("UPDATE", "revenue_weekly")))

        assert not at.sync().success

        assert at.warehouse.week_figures(TENANT, at.latest) == before
        assert at.warehouse.restatements() == []
        newest = {entry.sync_type: entry.status for entry in reversed(at.warehouse.log.newest(6))}
        assert newest == {"profit_and_loss": "failed", "invoices": "failed", "bank_summary": "success"}


def test_a_week_that_fails_in_a_way_that_nobody_foresaw_stops_no_other(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        weeks = [at.latest.shift(-n) for n in (2, 1, 0)]
        with at.warehouse.engine.begin() as connection:
            connection.execute(
                text(
                    "CREATE TRIGGER t1 BEFORE INSERT ON financial_weekly_lines "
                    f"WHEN NEW.week_ending = '{weeks[1]}' BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
                )
            )
        result = at.sync(weeks[0], weeks[-1])
        assert not result.success
        assert at.materialised("financial_weekly") == {weeks[0], weeks[2]}
        entries = {entry.week: entry for entry in at.warehouse.log.newest(20, sync_type="profit_and_loss")}
        assert {week: entry.status for week, entry in entries.items()} == {
            weeks[0]: "success",
            weeks[1]: "failed",
            weeks[2]: "success",
        }
        error = entries[weeks[1]].error_log
        assert error["error"] == "unexpected"
        # What an exception of somebody else's says is for the run's log alone.
        assert "disk" not in str(error)
        (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert failure.step_failure_data.user_failure_data is not None
    assert failure.step_failure_data.user_failure_data.metadata["failed_weeks"].value == [str(weeks[1])]


@pytest.mark.parametrize("stop", [dg.DagsterExecutionInterruptedError, KeyboardInterrupt, SystemExit])
def test_a_sync_that_is_told_to_end_says_so_and_does_not_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def end(*_: object, **__: object) -> None:
        raise stop

    with running(tmp_path) as at:
        monkeypatch.setattr(OrganisationClient, "fetch_profit_and_loss", end)
        with contextlib.suppress(stop):
            at.sync()
        [entry] = at.warehouse.log.newest(10, sync_type="profit_and_loss")
        assert (entry.status, entry.error_log["error"]) == ("failed", "interrupted")
        assert resting_weeks(at.warehouse.log, TENANT, at.clock.now()) == set()


def test_a_credit_note_list_that_fails_leaves_the_revenue_as_it_was(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        at.sync()
        before = at.warehouse.week_figures(TENANT, at.latest).revenue
        edited = next(one for one in at.mock.books(TENANT).documents(at.latest) if one.kind.value == "ACCREC")
        at.mock.edit_invoice(TENANT, edited.id, change=Decimal("100.00"))
        at.mock.add_fault(MockFault(FaultKind.IGNORE_DATES, path="CreditNotes", times=None))
        result = at.sync()
        assert not result.success
        assert at.warehouse.week_figures(TENANT, at.latest).revenue == before
        # The other tables landed, with the edit in them.
        assert at.warehouse.log.newest(1, sync_type="profit_and_loss")[0].status == "success"


def test_a_slow_sync_does_not_undo_what_a_later_one_has_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as at:
        at.sync()
        edited = next(one for one in at.mock.books(TENANT).documents(at.latest) if one.kind.value == "ACCREC")
        read = OrganisationClient.fetch_invoices
        readings = 0

        def slow(client: OrganisationClient, week: Week) -> Any:
            nonlocal readings
            readings += 1
            found = read(client, week)
            if readings == 1:
                # While this one is on its way, somebody edits an invoice, and another process syncs the week.
                at.clock.advance(minutes=1)
                at.mock.edit_invoice(TENANT, edited.id, change=Decimal("100.00"))
                assert at.sync().success
                at.clock.advance(minutes=1)
            return found

        monkeypatch.setattr(OrganisationClient, "fetch_invoices", slow)
        assert at.sync().success
        held = {
            (c["revenue_type"], c["region"]): c["invoiced"]
            for c in at.warehouse.week_figures(TENANT, at.latest).revenue
        }
        assert held == {key: cell.invoiced for key, cell in at.mock.books(TENANT).revenue(at.latest).items()}
        # The slow one, the one in between, and the slow one again.
        assert readings == 3
        entries = at.warehouse.log.newest(3, sync_type="invoices")
        assert {entry.status for entry in entries} == {"success"}
        slow_one, in_between, first = sorted(entries, key=lambda entry: entry.api_calls, reverse=True)
        # Both its readings, and what this very process spent in between.
        spent = sum(entry.api_calls for entry in at.warehouse.log.of_run(str(in_between.dagster_run_id)))
        assert slow_one.api_calls == 2 * first.api_calls + spent


def test_an_outage_is_noticed_after_three_weeks_and_spends_no_more_calls(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        at.sync()
        at.mock.add_fault(MockFault(FaultKind.STATUS, path="/api.xro/", status=503, times=None))
        before = at.deployment.session.attempts
        assert not at.sync(at.latest.shift(-9), at.latest).success
        failed = at.warehouse.log.newest(30)
        assert [entry.error_log["error"] for entry in failed] == ["xero_unavailable"] * 30
        # Three kinds, three weeks each, three tries a week.
        assert at.deployment.session.attempts - before == 27
        assert sum(entry.api_calls for entry in failed) == 27


def test_a_run_that_a_database_blip_meets_goes_on_with_the_next_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as at:
        land, fail, blips = Warehouse.land, SyncLog.fail, []

        def away(*given: Any, **named: Any) -> Any:
            if named.get("week") == at.latest.previous or blips == ["land"]:
                blips.append("land" if "week" in named else "log")
                raise DatabaseUnavailable("The database is away.")
            return (land if "week" in named else fail)(*given, **named)

        monkeypatch.setattr(Warehouse, "land", away)
        monkeypatch.setattr(SyncLog, "fail", away)
        at.sync(at.latest.shift(-2), at.latest)
        assert at.latest in {entry.week for entry in at.warehouse.log.newest(9) if entry.status == "success"}
        assert blips[:2] == ["land", "log"]
