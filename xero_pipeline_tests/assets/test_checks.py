"""The asset checks as Dagster runs them: which weeks they cover, what they report, and that they block nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import text

from xero_pipeline.assets.checks import CHECK_GROUPS, AssetCheckRule
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import (
    SECOND,
    SMALL,
    TENANT,
    RunningDeployment,
    describe_failing_checks,
    run_deployment,
)
from xero_pipeline_tests.plain_xero import PlainXero, open_connected_deployment, report_route, sync
from xero_pipeline_tests.warehouse.checks.books_given import restore_afterwards

RULES = [(group.asset, rule) for group in CHECK_GROUPS for rule in group.rules]


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDeployment]:
    """Three weeks of two organisations, without any violation."""
    with run_deployment(tmp_path_factory.mktemp("synced"), organisations=(SMALL, SECOND)) as deployed:
        assert deployed.sync(deployed.latest.shift(-2), deployed.latest, checks=True).success
        yield deployed


@pytest.fixture
def deployed(synced: RunningDeployment) -> Iterator[RunningDeployment]:
    """The same deployment for a test to break. The tables are restored afterwards."""
    with restore_afterwards(synced.warehouse.engine):
        yield synced


def execute(deployed: RunningDeployment, statement: str) -> None:
    with deployed.warehouse.engine.begin() as connection:
        connection.execute(text(statement))


def read_evaluations(run: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        f"{evaluation.asset_key.to_user_string()}.{evaluation.check_name}": evaluation
        for evaluation in run.get_asset_check_evaluations()
    }


def test_every_run_evaluates_every_check_of_the_tables_it_materialised(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        week = read_evaluations(deployed.sync(checks=True))
        weeks = read_evaluations(deployed.sync(deployed.latest.shift(-1), deployed.latest, checks=True))
    all_checks = {f"{asset}.{rule.name}" for asset, rule in RULES}
    assert set(week) == set(weeks) == all_checks
    assert {name for name, evaluation in week.items() if not evaluation.passed} == set()


def test_a_failing_check_neither_fails_the_run_nor_stops_another_table(deployed: RunningDeployment) -> None:
    execute(
        deployed,
        f"UPDATE cash_position_weekly SET closing_balance = '1.00' WHERE week_ending = '{deployed.latest.shift(-2)}'",
    )
    run = deployed.sync(checks=True)
    assert run.success
    assert set(describe_failing_checks(run)) == {"cash_position_weekly.closing_follows_from_opening"}
    assert not any(evaluation.blocking for evaluation in run.get_asset_check_evaluations())


def test_the_next_run_still_reports_an_older_week_that_is_wrong(deployed: RunningDeployment) -> None:
    older = deployed.latest.shift(-2)
    execute(deployed, f"UPDATE financial_weekly SET net_profit = '1.00' WHERE week_ending = '{older}'")
    failures = describe_failing_checks(deployed.sync(checks=True))
    assert f"week ending {older}" in failures["financial_weekly.gross_and_net_add_up"]


def test_a_check_that_somebody_starts_runs_alone_and_covers_every_week(deployed: RunningDeployment) -> None:
    older = deployed.latest.shift(-2)
    execute(
        deployed,
        f"UPDATE revenue_weekly SET net_revenue = '1.00' WHERE week_ending = '{older}' AND tenant_id = '{TENANT}'",
    )
    run = deployed.run_checks(("revenue_weekly", "net_is_invoiced_less_credited"))
    assert run.success
    assert set(read_evaluations(run)) == {"revenue_weekly.net_is_invoiced_less_credited"}
    assert (
        f"Mock Organisation, week ending {older}"
        in describe_failing_checks(run)["revenue_weekly.net_is_invoiced_less_credited"]
    )


def test_a_warning_covers_only_the_weeks_of_the_run(deployed: RunningDeployment) -> None:
    older = deployed.latest.shift(-2)
    execute(
        deployed,
        "UPDATE revenue_weekly SET invoiced = '9.00', credited = '0.00', net_revenue = '9.00' "
        f"WHERE week_ending = '{older}'",
    )
    check = ("revenue_weekly", "revenue_matches_income")
    assert str(older) in describe_failing_checks(deployed.run_checks(check))["revenue_weekly.revenue_matches_income"]
    assert read_evaluations(deployed.sync(checks=True))["revenue_weekly.revenue_matches_income"].passed


def test_a_violation_names_organisation_week_row_and_amounts_as_text_and_as_a_table(
    deployed: RunningDeployment,
) -> None:
    execute(
        deployed,
        f"UPDATE cash_position_weekly SET closing_balance = '1.00' WHERE tenant_id = '{SECOND.tenant_id}' AND "
        f"week_ending = '{deployed.latest}' AND bank_account_name = 'Business Transaction Account'",
    )
    evaluation = read_evaluations(deployed.run_checks())["cash_position_weekly.closing_follows_from_opening"]
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR
    assert (evaluation.description or "").startswith(
        f"- Second Organisation, week ending {deployed.latest}: Business Transaction Account: "
        "closing_balance is 1.00, but "
    )
    (record,) = evaluation.metadata["what_was_found"].records
    assert record.data["organisation"] == "Second Organisation"
    assert record.data["week_ending"] == str(deployed.latest)
    assert record.data["row"] == "Business Transaction Account"
    assert "closing_balance 1.00" in record.data["figures"]
    assert evaluation.metadata["findings"].value == 1


def test_a_long_list_of_violations_is_counted_in_full_and_shown_in_part(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.sync(checks=True)
        week = deployed.latest
        with deployed.warehouse.engine.begin() as connection:
            for number in range(60):
                connection.execute(
                    text(
                        "INSERT INTO revenue_weekly SELECT tenant_id, week_ending, :name, region, invoiced, credited, "
                        "'7.00', tax, invoice_count, credit_note_count, data_source, currency, updated_at "
                        "FROM revenue_weekly WHERE week_ending = :week AND revenue_type = 'residential' LIMIT 1"
                    ),
                    {"name": f"type {number}", "week": str(week)},
                )
        evaluations = read_evaluations(deployed.run_checks(("revenue_weekly", "net_is_invoiced_less_credited")))
    evaluation = evaluations["revenue_weekly.net_is_invoiced_less_credited"]
    assert evaluation.metadata["findings"].value == 60
    assert len(evaluation.metadata["what_was_found"].records) == 50
    assert (evaluation.description or "").endswith("… and 50 more.")


def test_a_partial_week_fails_the_check_with_xeros_differences(tmp_path: Path) -> None:
    sample = Path(__file__).parent.parent / "samples" / "profit_and_loss_au.json"
    report = json.loads(sample.read_text())
    altered = copy.deepcopy(report)
    altered["Reports"][0]["Rows"][-1]["Rows"][0]["Cells"][1]["Value"] = "68822.31"
    accounts = json.loads((sample.parent / "accounts.json").read_text())
    xero = PlainXero(ProfitAndLoss=report_route(altered), Accounts=accounts)
    with open_connected_deployment(tmp_path, xero) as (deployment, _):
        run = sync(deployment, deployment.settings.calendar.find_latest_week(deployment.clock.now()), checks=True)
        failures = describe_failing_checks(run)
    assert run.success
    assert failures["financial_weekly.adds_up_in_xero"].endswith(
        "Net Profit: Xero states 68822.31, its parts add up to 68822.30, a difference of 0.01."
    )
    assert "- Demo, week ending " in failures["financial_weekly.adds_up_in_xero"]
    # No invoice explains that income.
    assert set(failures) == {"financial_weekly.adds_up_in_xero", "revenue_weekly.revenue_matches_income"}


def test_an_organisation_that_is_not_connected_need_not_be_fresh(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.sync(checks=True)
        deployed.clock.advance(days=9)
        stale = {"financial_weekly.fresh", "revenue_weekly.fresh", "cash_position_weekly.fresh"}
        assert set(describe_failing_checks(deployed.run_checks())) == stale
        deployed.warehouse.tokens.set_status(TENANT, ConnectionStatus.RECONNECT_NEEDED)
        assert describe_failing_checks(deployed.run_checks()) == {}


def test_a_check_covers_the_figures_of_an_organisation_that_is_not_connected_any_more(
    deployed: RunningDeployment,
) -> None:
    """Its figures stay. The result names the tenant id, because the name is not stored any more."""
    execute(
        deployed,
        "INSERT INTO financial_weekly SELECT 'gone', week_ending, basis, total_trading_income, cost_of_sales, '1.00', "
        "other_income, operating_expenses, net_profit, data_source, currency, updated_at FROM financial_weekly "
        f"WHERE tenant_id = '{TENANT}' AND week_ending = '{deployed.latest}'",
    )
    failures = describe_failing_checks(deployed.run_checks(("financial_weekly", "gross_and_net_add_up")))
    assert (
        f"- gone, week ending {deployed.latest}: gross_profit is 1.00"
        in failures["financial_weekly.gross_and_net_add_up"]
    )


@pytest.mark.parametrize(("asset", "rule"), RULES, ids=lambda value: getattr(value, "name", value))
def test_the_description_of_a_check_says_what_a_failure_means_and_what_to_do(asset: str, rule: AssetCheckRule) -> None:
    meaning, *advice = rule.description.split(". ")
    is_warning = rule.severity is dg.AssetCheckSeverity.WARN
    assert meaning.startswith("Warns when" if is_warning else "Fails when")
    assert any(word in " ".join(advice) for word in ("Sync", "sync", "Look", "Open", "See"))


def test_an_empty_warehouse_fails_only_the_freshness_checks(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        assert describe_failing_checks(deployed.run_checks()) == {}
        deployed.clock.advance(days=9)
        failures = describe_failing_checks(deployed.run_checks())
    assert all(name.endswith(".fresh") for name in failures)
    assert "no week is stored at all" in failures["revenue_weekly.fresh"]
    assert f"week ending {Week.containing(deployed.clock.now().date()).previous}" in failures["revenue_weekly.fresh"]
