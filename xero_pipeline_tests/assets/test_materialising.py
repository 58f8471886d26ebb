"""Weeks materialised by a real Dagster run with the mock Xero: figures, metadata, sync log, failures."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import text

from xero_pipeline.assets import side_by_side
from xero_pipeline.assets.week_landing import WeekLander
from xero_pipeline.automation.jobs import ASSETS
from xero_pipeline.automation.planning import find_weeks_in_backoff
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.mock_xero import FaultKind, MockFault, MockOrganisation
from xero_pipeline.warehouse.errors import DatabaseUnavailable
from xero_pipeline.warehouse.logs.sync_log import SyncLog
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.deployment import (
    SECOND,
    SMALL,
    TENANT,
    RunningDeployment,
    describe_failing_checks,
    run_deployment,
)


def read_metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[Week, Mapping[str, Any]]:
    """The metadata of the last event of each week, which is what Dagster shows."""
    return {
        Week.from_key(str(event.partition)): {
            name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.all_events
        if event.is_step_materialization and event.asset_key == dg.AssetKey(asset)
    }


def read_lines(deployed: RunningDeployment, week: Week, tenant_id: str = TENANT) -> dict[str, Decimal]:
    return {row["account_id"]: row["amount"] for row in deployed.warehouse.read_week_figures(tenant_id, week).lines}


def find_invoice(deployed: RunningDeployment) -> Any:
    """A sales invoice of the latest week."""
    documents = deployed.mock.books(TENANT).documents(deployed.latest)
    return next(document for document in documents if document.kind.value == "ACCREC")


def test_a_week_lands_with_the_figures_of_the_books(tmp_path: Path, database_url: str) -> None:
    with run_deployment(tmp_path, database_url=database_url) as deployed:
        result = deployed.sync()

        assert result.success
        figures, books = deployed.warehouse.read_week_figures(TENANT, deployed.latest), deployed.mock.books(TENANT)
        expected = books.profit_and_loss(deployed.latest)
        assert read_lines(deployed, deployed.latest) == expected.lines
        assert figures.profit_and_loss is not None
        for name in ("total_trading_income", "cost_of_sales", "gross_profit", "operating_expenses", "net_profit"):
            assert figures.profit_and_loss[name] == getattr(expected, name)
        assert {(row["revenue_type"], row["region"]): row["net_revenue"] for row in figures.revenue} == {
            key: cell.net_revenue for key, cell in books.revenue(deployed.latest).items()
        }
        assert {row["bank_account_id"]: row["closing_balance"] for row in figures.cash} == {
            bank_id: movement.closing_balance for bank_id, movement in books.bank(deployed.latest).items()
        }
        assert (
            {deployed.latest}
            == deployed.list_materialised_weeks("financial_weekly")
            == deployed.list_materialised_weeks("cash_position_weekly")
        )


def test_a_run_writes_one_row_of_the_sync_log_for_each_kind_and_week(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        run_id = deployed.sync().run_id
        entries = deployed.warehouse.log.list_newest(10)
    assert sorted(entry.sync_type for entry in entries) == ["bank_summary", "invoices", "profit_and_loss"]
    assert {(entry.status, entry.dagster_run_id, entry.week) for entry in entries} == {
        ("success", run_id, deployed.latest)
    }
    assert all(entry.record_count and entry.api_calls for entry in entries)


def test_the_metadata_of_a_week_has_organisations_rows_calls_and_figures(tmp_path: Path) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND)) as deployed:
        result = deployed.sync()
        metadata = read_metadata(result, "financial_weekly")[deployed.latest]
        expected = [
            deployed.mock.books(tenant).profit_and_loss(deployed.latest) for tenant in (TENANT, SECOND.tenant_id)
        ]
    assert metadata["week_ending"] == str(deployed.latest)
    assert metadata["organisations"] == "Mock Organisation, Second Organisation"
    assert metadata["dagster/partition_row_count"] == sum(1 + len(books.lines) for books in expected)
    assert metadata["api_calls"] > 0
    assert metadata["restated"] == 0
    assert metadata["net_profit"] == pytest.approx(float(sum(books.net_profit for books in expected)))
    assert metadata["figures"]["Second Organisation"] == {
        "currency": "AUD",
        "status": "success",
        **{
            name: str(getattr(expected[1], name))
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


def test_a_range_of_weeks_is_one_run_with_one_result_for_each_week(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        weeks = [deployed.latest.shift(-n) for n in (2, 1, 0)]
        result = deployed.sync(weeks[0], weeks[-1], checks=True)

        assert result.success
        for asset in ASSETS:
            metadata = read_metadata(result, asset)
            assert deployed.list_materialised_weeks(asset) == set(weeks) == set(metadata)
            assert {week: entry["week_ending"] for week, entry in metadata.items()} == {
                week: str(week) for week in weeks
            }
        income = {
            week: entry["total_trading_income"] for week, entry in read_metadata(result, "financial_weekly").items()
        }
        books = deployed.mock.books(TENANT)
        assert income == {week: float(books.profit_and_loss(week).total_trading_income) for week in weeks}
        assert len({entry.dagster_run_id for entry in deployed.warehouse.log.list_newest(20)}) == 1
        assert describe_failing_checks(result) == {}


def test_the_newest_week_of_a_run_describes_the_table(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        older = deployed.latest.shift(-1)
        result = deployed.sync(older, deployed.latest)
        rows = sum(
            1 + len(deployed.mock.books(TENANT).profit_and_loss(week).lines) for week in (older, deployed.latest)
        )
        for asset in ASSETS:
            metadata = read_metadata(result, asset)
            assert {"tenant_id", "week_ending", "currency"} <= {
                column.name for column in metadata[deployed.latest]["dagster/column_schema"].columns
            }
            assert metadata[deployed.latest]["last_weeks"].startswith(
                f"Mock Organisation, 2 weeks to {deployed.latest}: "
            )
            assert set(metadata[older]).isdisjoint({"last_weeks", "dagster/row_count", "dagster/column_schema"})
        assert read_metadata(result, "financial_weekly")[deployed.latest]["dagster/row_count"] == rows


def test_each_organisation_has_its_own_chart(tmp_path: Path) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND)) as deployed:
        metadata = read_metadata(deployed.sync(), "revenue_weekly")[deployed.latest]
    assert {name for name in metadata if name.startswith("last_weeks")} == {
        "last_weeks of Mock Organisation",
        "last_weeks of Second Organisation",
    }


def test_two_organisations_with_the_same_name_are_labelled_with_their_ids(tmp_path: Path) -> None:
    twin = MockOrganisation(tenant_id="mock-tenant-002", name=SMALL.name, documents=6)
    with run_deployment(tmp_path, organisations=(SMALL, twin)) as deployed:
        metadata = read_metadata(deployed.sync(), "revenue_weekly")[deployed.latest]
    names = {f"{SMALL.name} ({tenant})" for tenant in (TENANT, twin.tenant_id)}
    assert set(metadata["figures"]) == names
    assert {name for name in metadata if name.startswith("last_weeks")} == {f"last_weeks of {name}" for name in names}


def test_the_event_of_a_week_is_small(tmp_path: Path) -> None:
    """Dagster stores events for ever, and each daily sync writes five weeks of three tables."""
    with run_deployment(tmp_path) as deployed:
        result = deployed.sync(deployed.latest.shift(-1), deployed.latest)
    sizes = [
        len(dg.serialize_value(event.step_materialization_data.materialization))
        for event in result.all_events
        if event.is_step_materialization
    ]
    assert len(sizes) == 6
    assert max(sizes) < 8_000


def test_every_run_is_tagged_with_its_weeks_and_organisations(tmp_path: Path) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND)) as deployed:
        job = deployed.definitions.resolve_implicit_global_asset_job_def()
        started = job.get_subset(asset_selection={dg.AssetKey("cash_position_weekly")}).execute_in_process(
            instance=deployed.instance, partition_key=deployed.latest.key
        )
        run = deployed.instance.get_run_by_id(started.run_id)
        range_run = deployed.instance.get_run_by_id(deployed.sync(deployed.latest.shift(-1), deployed.latest).run_id)
    assert run is not None
    assert (run.tags["week_ending"], run.tags["organisation"]) == (
        str(deployed.latest),
        "Mock Organisation, Second Organisation",
    )
    assert range_run is not None
    assert range_run.tags["week_ending"] == f"{deployed.latest.shift(-1)} to {deployed.latest}"


def test_syncing_again_changes_no_figure_and_restates_nothing(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.sync()
        before = deployed.warehouse.read_week_figures(TENANT, deployed.latest)
        deployed.clock.advance(minutes=1)
        result = deployed.sync()
        assert deployed.warehouse.read_week_figures(TENANT, deployed.latest) == before
        assert [read_metadata(result, asset)[deployed.latest]["restated"] for asset in ASSETS] == [0, 0, 0]


def test_the_metadata_of_a_week_that_was_edited_in_xero_shows_what_changed(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.sync()
        edited = find_invoice(deployed)
        deployed.clock.advance(hours=1)
        deployed.mock.edit_invoice(TENANT, edited.id, change=Decimal("100.00"))
        result = deployed.sync()
        metadata = read_metadata(result, "revenue_weekly")[deployed.latest]
        restatements = deployed.warehouse.list_restatements(week=deployed.latest)
    assert metadata["restated"] > 0
    assert "| invoiced |" in metadata["what_changed"]
    assert {restatement.dagster_run_id for restatement in restatements} == {result.run_id}
    assert {restatement.table_name for restatement in restatements} >= {
        "revenue_weekly",
        "financial_weekly",
        "financial_weekly_lines",
    }


def test_a_failing_week_of_one_organisation_stops_no_other_organisation_or_week(tmp_path: Path) -> None:
    # One call at a time, so that the second request is that of the second week.
    with run_deployment(tmp_path, organisations=(SMALL, SECOND), XERO_CONCURRENT_CALLS=1) as deployed:
        weeks = [deployed.latest.shift(-n) for n in (2, 1, 0)]
        # This fails the second organisation's profit and loss of the middle week.
        deployed.mock.add_fault(
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
        result = deployed.sync(weeks[0], weeks[-1], checks=True)

        assert not result.success
        assert deployed.list_materialised_weeks("financial_weekly") == {weeks[0], weeks[2]}
        for week in weeks:
            assert read_lines(deployed, week) == deployed.mock.books(TENANT).profit_and_loss(week).lines
        assert deployed.warehouse.read_week_figures(SECOND.tenant_id, weeks[1]).profit_and_loss is None
        failed = deployed.warehouse.log.list_newest(50, status="failed")
        assert [(entry.tenant_id, entry.sync_type, entry.week) for entry in failed] == [
            (SECOND.tenant_id, "profit_and_loss", weeks[1])
        ]
        # The other tables landed, and their checks ran.
        assert deployed.list_materialised_weeks("cash_position_weekly") == set(weeks)
        assert describe_failing_checks(result) == {}


def test_the_failure_of_a_run_names_the_week_and_the_organisation(tmp_path: Path) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND)) as deployed:
        deployed.mock.add_fault(
            MockFault(FaultKind.NO_REPORTS, path="ProfitAndLoss", tenant_id=SECOND.tenant_id, times=None)
        )
        result = deployed.sync()
        (failure,) = result.filter_events(lambda event: event.is_step_failure)
    failure_data = failure.step_failure_data.user_failure_data
    assert failure_data is not None
    assert failure_data.description is not None
    assert f"Second Organisation, week ending {deployed.latest}" in failure_data.description
    assert failure_data.metadata["failed_weeks"].value == [str(deployed.latest)]
    assert failure_data.metadata["organisations"].value == ["Second Organisation"]


def test_a_run_that_names_an_organisation_syncs_only_that_one(tmp_path: Path) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND)) as deployed:
        assert deployed.sync(organisations=[SECOND.tenant_id]).success
        assert deployed.warehouse.read_week_figures(TENANT, deployed.latest).profit_and_loss is None
        assert deployed.warehouse.read_week_figures(SECOND.tenant_id, deployed.latest).profit_and_loss is not None


def test_a_week_is_materialised_by_the_run_with_which_every_connected_organisation_has_landed_it(
    tmp_path: Path, database_url: str
) -> None:
    third = MockOrganisation(tenant_id="mock-tenant-003", name="Third Organisation", documents=6)
    organisations = (SMALL, SECOND, third)
    with run_deployment(tmp_path, organisations=organisations, database_url=database_url) as deployed:
        weeks = {deployed.latest.shift(-1), deployed.latest}
        first, last = min(weeks), max(weeks)
        # The first run observes what it lands, and its checks run.
        result = deployed.sync(first, last, organisations=[TENANT], checks=True)
        assert result.success
        assert deployed.list_materialised_weeks("revenue_weekly") == set()
        assert len(result.get_asset_check_evaluations()) > 20
        observed = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
        assert len(observed) == 3 * len(weeks)
        metadata = observed[0].asset_observation_data.asset_observation.metadata
        assert metadata["organisations"].value == SMALL.name
        # One kind of figures fails for one organisation and week; the other kinds do not wait for it.
        deployed.mock.add_fault(
            MockFault(FaultKind.STATUS, path="BankSummary", tenant_id=third.tenant_id, times=1, status=400, body="{}")
        )
        failing = deployed.sync(first, last, organisations=[SECOND.tenant_id, third.tenant_id])
        assert not failing.success
        assert deployed.list_materialised_weeks("revenue_weekly") == weeks
        assert len(deployed.list_materialised_weeks("cash_position_weekly")) == 1
        # The retry completes the week. A later reading of one organisation materialises it again, as it is complete.
        (lacking,) = weeks - deployed.list_materialised_weeks("cash_position_weekly")
        retry = deployed.sync(lacking, organisations=[third.tenant_id], assets=["cash_position_weekly"])
        again = deployed.sync(lacking, organisations=[TENANT], assets=["cash_position_weekly"])
        assert deployed.list_materialised_weeks("cash_position_weekly") == weeks
        assert set(read_metadata(retry, "cash_position_weekly")) == {lacking}
        assert set(read_metadata(again, "cash_position_weekly")) == {lacking}


def test_an_organisation_that_has_lost_its_connection_keeps_no_week_from_being_materialised(tmp_path: Path) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND)) as deployed:
        deployed.warehouse.tokens.set_status(SECOND.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
        assert deployed.sync(assets=["cash_position_weekly"]).success
        assert deployed.list_materialised_weeks("cash_position_weekly") == {deployed.latest}


def test_a_week_before_the_books_began_lands_empty(tmp_path: Path) -> None:
    empty = Week(date(2014, 12, 6))
    with run_deployment(tmp_path, PIPELINE_START_DATE="2014-11-30") as deployed:
        result = deployed.sync(empty, checks=True)
        assert result.success
        figures = deployed.warehouse.read_week_figures(TENANT, empty)
        assert figures.profit_and_loss is not None
        assert figures.profit_and_loss["net_profit"] == Decimal("0.00")
        assert (figures.lines, figures.revenue) == ([], [])
        assert {row["closing_balance"] for row in figures.cash} <= {Decimal("0.00")}
        assert read_metadata(result, "revenue_weekly")[empty]["dagster/partition_row_count"] == 0
        assert {entry.status for entry in deployed.warehouse.log.list_newest(3)} == {"success"}
        assert not {key for key in describe_failing_checks(result) if not key.endswith(".fresh")}


def test_a_week_that_fails_while_it_is_written_leaves_the_figures_as_they_were(tmp_path: Path) -> None:
    """The database refuses the lines. The totals, which were written before them, must be rolled back too."""
    with run_deployment(tmp_path) as deployed:
        deployed.sync()
        before = deployed.warehouse.read_week_figures(TENANT, deployed.latest)
        edited = find_invoice(deployed)
        deployed.mock.edit_invoice(TENANT, edited.id, change=Decimal("100.00"))
        refuse = "BEFORE {} ON {} BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        with deployed.warehouse.engine.begin() as connection:
            connection.execute(text("CREATE TRIGGER t1 " + refuse.format("UPDATE", "financial_weekly_lines")))
            connection.execute(text("CREATE TRIGGER t2 " + refuse.format("UPDATE", "revenue_weekly")))

        assert not deployed.sync().success

        assert deployed.warehouse.read_week_figures(TENANT, deployed.latest) == before
        assert deployed.warehouse.list_restatements() == []
        newest = {entry.sync_type: entry.status for entry in reversed(deployed.warehouse.log.list_newest(6))}
        assert newest == {"profit_and_loss": "failed", "invoices": "failed", "bank_summary": "success"}


def test_an_unexpected_error_in_a_week_stops_no_other_week(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        weeks = [deployed.latest.shift(-n) for n in (2, 1, 0)]
        with deployed.warehouse.engine.begin() as connection:
            connection.execute(
                text(
                    "CREATE TRIGGER t1 BEFORE INSERT ON financial_weekly_lines "
                    f"WHEN NEW.week_ending = '{weeks[1]}' BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
                )
            )
        result = deployed.sync(weeks[0], weeks[-1])
        assert not result.success
        assert deployed.list_materialised_weeks("financial_weekly") == {weeks[0], weeks[2]}
        entries = {entry.week: entry for entry in deployed.warehouse.log.list_newest(20, sync_type="profit_and_loss")}
        assert {week: entry.status for week, entry in entries.items()} == {
            weeks[0]: "success",
            weeks[1]: "failed",
            weeks[2]: "success",
        }
        error = entries[weeks[1]].error_log
        assert error["error"] == "unexpected"
        # The text of an unexpected exception is only in the run's log.
        assert "disk" not in str(error)
        (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert failure.step_failure_data.user_failure_data is not None
    assert failure.step_failure_data.user_failure_data.metadata["failed_weeks"].value == [str(weeks[1])]


def test_a_week_that_landed_just_before_the_interruption_stays_landed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = WeekLander.finish

    def finish_and_stop(*arguments: Any) -> Any:
        finish(*arguments)
        raise KeyboardInterrupt

    with run_deployment(tmp_path) as deployed:
        monkeypatch.setattr(WeekLander, "finish", finish_and_stop)
        deployed.sync(deployed.latest.shift(-3), deployed.latest)
        entries = deployed.warehouse.log.list_newest(20)
        (landed,) = (entry for entry in entries if entry.status == "success")
        figures = deployed.warehouse.read_week_figures(TENANT, landed.week)
        assert {"invoices": figures.revenue, "bank_summary": figures.cash}[landed.sync_type]
        others = [entry for entry in entries if entry is not landed]
        assert {(entry.status, entry.error_log["error"]) for entry in others} == {("failed", "interrupted")}


@pytest.mark.parametrize("stop", [dg.DagsterExecutionInterruptedError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_sync_is_logged_as_interrupted_and_does_not_cause_backoff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise stop

    with run_deployment(tmp_path) as deployed:
        monkeypatch.setattr(OrganisationClient, "fetch_profit_and_loss", interrupt)
        with contextlib.suppress(stop):
            deployed.sync()
        [entry] = deployed.warehouse.log.list_newest(10, sync_type="profit_and_loss")
        assert (entry.status, entry.error_log["error"]) == ("failed", "interrupted")
        assert find_weeks_in_backoff(deployed.warehouse.log, TENANT, deployed.clock.now()) == set()


def test_a_failing_list_of_credit_notes_leaves_the_revenue_as_it_was(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.sync()
        before = deployed.warehouse.read_week_figures(TENANT, deployed.latest).revenue
        edited = find_invoice(deployed)
        deployed.mock.edit_invoice(TENANT, edited.id, change=Decimal("100.00"))
        deployed.mock.add_fault(MockFault(FaultKind.IGNORE_DATES, path="CreditNotes", times=None))
        result = deployed.sync()
        assert not result.success
        assert deployed.warehouse.read_week_figures(TENANT, deployed.latest).revenue == before
        # The other tables landed with the edit.
        assert deployed.warehouse.log.list_newest(1, sync_type="profit_and_loss")[0].status == "success"


def test_a_run_waits_for_its_turn_with_an_organisation_that_another_run_reads_and_reads_the_others_meanwhile(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND), database_url=database_url) as deployed:
        read_bank_summary = OrganisationClient.fetch_bank_summary
        other_landed, is_first = threading.Event(), True
        overlapping: list[Any] = []

        def read_slowly(client: OrganisationClient, week: Week) -> Any:
            nonlocal is_first
            if client.tenant_id == TENANT and is_first:
                # While the first run reads this organisation, a second one begins with both.
                is_first = False
                second = threading.Thread(target=lambda: overlapping.append(sync_bank(deployed)))
                second.start()
                threads.append(second)
                assert other_landed.wait(30), "the second run does not wait with the other organisation"
                assert deployed.warehouse.log.list_newest(5, tenant_id=TENANT, status="running"), "this run's own"
                assert len(deployed.warehouse.log.list_newest(5, tenant_id=TENANT)) == 1
            summary = read_bank_summary(client, week)
            if client.tenant_id == SECOND.tenant_id:
                other_landed.set()
            return summary

        threads: list[threading.Thread] = []
        monkeypatch.setattr(OrganisationClient, "fetch_bank_summary", read_slowly)
        assert sync_bank(deployed, TENANT).success
        for thread in threads:
            thread.join()
        assert [result.success for result in overlapping] == [True]
        entries = deployed.warehouse.log.list_newest(9, tenant_id=TENANT)
        assert [(entry.status, entry.error_log) for entry in entries] == [("success", None)] * 2


def sync_bank(deployed: RunningDeployment, *organisations: str) -> Any:
    return deployed.sync(organisations=organisations, assets=["cash_position_weekly"])


def lose_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart of the database's server: runs of the same weeks do not wait for each other."""

    @contextlib.contextmanager
    def take_all(_locks: Any, organisations: Any, *_: Any) -> Any:
        yield list(organisations)

    monkeypatch.setattr(side_by_side, "take_turn", take_all)


def test_a_slow_sync_does_not_overwrite_the_figures_of_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.sync()
        edited = find_invoice(deployed)
        read_invoices = OrganisationClient.read_invoices
        readings = 0

        def read_slowly(client: OrganisationClient, weeks: WeekRange, sink: Any) -> Any:
            nonlocal readings
            readings += 1
            miscount = read_invoices(client, weeks, sink)
            if readings == 1:
                # Before this reading lands, somebody edits an invoice and another sync lands the week.
                deployed.clock.advance(minutes=1)
                deployed.mock.edit_invoice(TENANT, edited.id, change=Decimal("100.00"))
                assert deployed.sync().success
                deployed.clock.advance(minutes=1)
            return miscount

        monkeypatch.setattr(OrganisationClient, "read_invoices", read_slowly)
        lose_locks(monkeypatch)
        result = deployed.sync()
        assert result.success
        assert read_invoiced(deployed, deployed.latest) == list_invoiced_by_books(deployed, deployed.latest)
        # The slow sync, and the one in between.
        assert readings == 2
        newest = deployed.warehouse.log.list_newest(2, sync_type="invoices")
        assert [entry.status for entry in newest] == ["success", "success"]
        in_between, slow = newest
        assert f"run {in_between.dagster_run_id} landed the newer figures" in slow.error_log["notes"][0]
        assert slow.record_count == in_between.record_count
        metadata = read_metadata(result, "revenue_weekly")[deployed.latest]
        assert "landed the newer figures" in metadata["notes"]
        assert "net_revenue" not in metadata, "the figures of the older reading are nowhere shown"


def read_invoiced(deployed: RunningDeployment, week: Week) -> dict[tuple[str, str], Decimal]:
    revenue = deployed.warehouse.read_week_figures(TENANT, week).revenue
    return {(cell["revenue_type"], cell["region"]): cell["invoiced"] for cell in revenue}


def list_invoiced_by_books(deployed: RunningDeployment, week: Week) -> dict[tuple[str, str], Decimal]:
    return {key: cell.invoiced for key, cell in deployed.mock.books(TENANT).revenue(week).items()}


def test_of_overlapping_syncs_of_a_week_none_fails_and_the_last_to_begin_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sync is overtaken by the next one, which begins while it reads. Their clocks differ by hours."""
    overlapping = 6
    read_invoices = OrganisationClient.read_invoices
    results = []
    with run_deployment(tmp_path) as deployed:
        deployed.sync()
        edited = find_invoice(deployed)

        def read_slowly(client: OrganisationClient, weeks: WeekRange, sink: Any) -> Any:
            miscount = read_invoices(client, weeks, sink)
            if len(started) < overlapping:
                deployed.clock.advance(hours=-1 if len(started) % 2 else 2)
                deployed.mock.edit_invoice(TENANT, edited.id, change=Decimal("1.00"))
                sync()
            return miscount

        def sync() -> None:
            started.append(len(started))
            results.append(deployed.sync())

        started: list[int] = []
        monkeypatch.setattr(OrganisationClient, "read_invoices", read_slowly)
        lose_locks(monkeypatch)
        sync()
        assert len(results) == overlapping
        assert all(result.success for result in results)
        assert read_invoiced(deployed, deployed.latest) == list_invoiced_by_books(deployed, deployed.latest)
        entries = deployed.warehouse.log.list_newest(overlapping, sync_type="invoices")
        assert {entry.status for entry in entries} == {"success"}
        assert all(f"(log {entries[0].id})" in entry.error_log["notes"][0] for entry in entries[1:])


def test_a_week_is_synced_right_by_a_clock_that_is_ahead_right_and_behind(tmp_path: Path, database_url: str) -> None:
    xero_clock, clock = FakeClock(), FakeClock()
    with run_deployment(tmp_path, clock, mock_clock=xero_clock, database_url=database_url) as deployed:
        edited, week = find_invoice(deployed), deployed.latest
        for skew in (timedelta(0), timedelta(hours=1), timedelta(0), timedelta(hours=-1), timedelta(days=365)) * 2:
            xero_clock.advance(minutes=1)
            clock.moment = xero_clock.moment + skew
            deployed.mock.edit_invoice(TENANT, edited.id, change=Decimal("1.00"))
            assert deployed.sync(week).success
            assert read_invoiced(deployed, week) == list_invoiced_by_books(deployed, week)
        assert {entry.status for entry in deployed.warehouse.log.list_newest(50)} == {"success"}


def test_after_three_weeks_of_an_outage_no_more_calls_are_made(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.sync()
        deployed.mock.add_fault(MockFault(FaultKind.STATUS, path="/api.xro/", status=503, times=None))
        before = deployed.deployment.session.attempts
        assert not deployed.sync(deployed.latest.shift(-9), deployed.latest).success
        failed = deployed.warehouse.log.list_newest(30)
        assert [entry.error_log["error"] for entry in failed] == ["xero_unavailable"] * 30
        # Three kinds, three weeks of each, three attempts for each week.
        assert deployed.deployment.session.attempts - before == 27
        assert sum(entry.api_calls for entry in failed) == 27


def test_a_run_goes_on_with_the_next_week_after_a_short_database_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_deployment(tmp_path) as deployed:
        land, fail, outages = Warehouse.land, SyncLog.fail, []

        def fail_sometimes(*args: Any, **kwargs: Any) -> Any:
            if kwargs.get("week") == deployed.latest.previous or outages == ["land"]:
                outages.append("land" if "week" in kwargs else "log")
                raise DatabaseUnavailable("The database is away.")
            return (land if "week" in kwargs else fail)(*args, **kwargs)

        monkeypatch.setattr(Warehouse, "land", fail_sometimes)
        monkeypatch.setattr(SyncLog, "fail", fail_sometimes)
        deployed.sync(deployed.latest.shift(-2), deployed.latest)
        assert deployed.latest in {
            entry.week for entry in deployed.warehouse.log.list_newest(9) if entry.status == "success"
        }
        assert outages[:2] == ["land", "log"]
