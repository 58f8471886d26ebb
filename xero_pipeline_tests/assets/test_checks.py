"""The asset checks as Dagster runs them: which weeks they are about, what they say, what they do not stop."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import text

from xero_pipeline.assets.checks import CHECKED, AssetCheckRule
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import SECOND, SMALL, TENANT, Running, failing_checks, running
from xero_pipeline_tests.plain_xero import PlainXero, open_connected_deployment, report_route, sync
from xero_pipeline_tests.warehouse.checks.books_given import mended

RULES = [(checked.asset, rule) for checked in CHECKED for rule in checked.rules]


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three weeks of two organisations, as they should be."""
    with running(tmp_path_factory.mktemp("synced"), organisations=(SMALL, SECOND)) as at:
        assert at.sync(at.latest.shift(-2), at.latest, checks=True).success
        yield at


@pytest.fixture
def at(synced: Running) -> Iterator[Running]:
    """The same for a test to break: it is mended afterwards."""
    with mended(synced.warehouse.engine):
        yield synced


def change(at: Running, what: str) -> None:
    with at.warehouse.engine.begin() as connection:
        connection.execute(text(what))


def results(run: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    found = run.get_asset_check_evaluations()
    return {f"{one.asset_key.to_user_string()}.{one.check_name}": one for one in found}


def test_every_run_looks_at_every_check_of_what_it_made(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        week = results(at.sync(checks=True))
        weeks = results(at.sync(at.latest.shift(-1), at.latest, checks=True))
    every = {f"{asset}.{rule.name}" for asset, rule in RULES}
    assert set(week) == set(weeks) == every
    assert {name for name, one in week.items() if not one.passed} == set()


def test_a_failing_check_neither_fails_the_run_nor_stops_another_table(at: Running) -> None:
    change(at, f"UPDATE cash_position_weekly SET closing_balance = '1.00' WHERE week_ending = '{at.latest.shift(-2)}'")
    run = at.sync(checks=True)
    assert run.success
    assert set(failing_checks(run)) == {"cash_position_weekly.closing_follows_from_opening"}
    assert not any(one.blocking for one in run.get_asset_check_evaluations())


def test_an_older_week_that_is_wrong_is_not_forgotten_by_the_next_run(at: Running) -> None:
    older = at.latest.shift(-2)
    change(at, f"UPDATE financial_weekly SET net_profit = '1.00' WHERE week_ending = '{older}'")
    said = failing_checks(at.sync(checks=True))
    assert f"week ending {older}" in said["financial_weekly.gross_and_net_add_up"]


def test_a_check_that_somebody_starts_looks_at_every_week_alone(at: Running) -> None:
    older = at.latest.shift(-2)
    change(
        at,
        f"UPDATE revenue_weekly SET net_revenue = '1.00' WHERE week_ending = '{older}' AND tenant_id = '{TENANT}'",
    )
    run = at.look(("revenue_weekly", "net_is_invoiced_less_credited"))
    assert run.success
    assert set(results(run)) == {"revenue_weekly.net_is_invoiced_less_credited"}
    assert (
        f"Mock Organisation, week ending {older}" in failing_checks(run)["revenue_weekly.net_is_invoiced_less_credited"]
    )


def test_a_warning_is_about_the_weeks_of_the_run(at: Running) -> None:
    older = at.latest.shift(-2)
    change(
        at,
        "UPDATE revenue_weekly SET invoiced = '9.00', credited = '0.00', net_revenue = '9.00' "
        f"WHERE week_ending = '{older}'",
    )
    check = ("revenue_weekly", "revenue_matches_income")
    assert str(older) in failing_checks(at.look(check))["revenue_weekly.revenue_matches_income"]
    assert results(at.sync(checks=True))["revenue_weekly.revenue_matches_income"].passed


def test_a_finding_names_organisation_week_row_and_amounts_also_as_a_table(at: Running) -> None:
    change(
        at,
        f"UPDATE cash_position_weekly SET closing_balance = '1.00' WHERE tenant_id = '{SECOND.tenant_id}' AND "
        f"week_ending = '{at.latest}' AND bank_account_name = 'Business Transaction Account'",
    )
    one = results(at.look())["cash_position_weekly.closing_follows_from_opening"]
    assert one.severity is dg.AssetCheckSeverity.ERROR
    assert (one.description or "").startswith(
        f"- Second Organisation, week ending {at.latest}: Business Transaction Account: closing_balance is 1.00, but "
    )
    (record,) = one.metadata["what_was_found"].records
    assert record.data["organisation"] == "Second Organisation"
    assert record.data["week_ending"] == str(at.latest)
    assert record.data["row"] == "Business Transaction Account"
    assert "closing_balance 1.00" in record.data["figures"]
    assert one.metadata["findings"].value == 1


def test_many_findings_are_counted_and_cut(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        at.sync(checks=True)
        week = at.latest
        with at.warehouse.engine.begin() as connection:
            for number in range(60):
                connection.execute(
                    text(
                        "INSERT INTO revenue_weekly SELECT tenant_id, week_ending, :name, region, invoiced, credited, "
                        "'7.00', tax, invoice_count, credit_note_count, data_source, currency, updated_at "
                        "FROM revenue_weekly WHERE week_ending = :week AND revenue_type = 'residential' LIMIT 1"
                    ),
                    {"name": f"type {number}", "week": str(week)},
                )
        one = results(at.look(("revenue_weekly", "net_is_invoiced_less_credited")))
    found = one["revenue_weekly.net_is_invoiced_less_credited"]
    assert found.metadata["findings"].value == 60
    assert len(found.metadata["what_was_found"].records) == 50
    assert (found.description or "").endswith("… and 50 more.")


def test_a_partial_week_fails_the_check_with_xeros_differences(tmp_path: Path) -> None:
    sample = Path(__file__).parent.parent / "samples" / "profit_and_loss_au.json"
    report = json.loads(sample.read_text())
    off = copy.deepcopy(report)
    off["Reports"][0]["Rows"][-1]["Rows"][0]["Cells"][1]["Value"] = "68822.31"
    accounts = json.loads((sample.parent / "accounts.json").read_text())
    xero = PlainXero(ProfitAndLoss=report_route(off), Accounts=accounts)
    with open_connected_deployment(tmp_path, xero) as (deployment, _):
        run = sync(deployment, deployment.settings.calendar.find_latest_week(deployment.clock.now()), checks=True)
        said = failing_checks(run)
    assert run.success
    assert said["financial_weekly.adds_up_in_xero"].endswith(
        "Net Profit: Xero states 68822.31, its parts add up to 68822.30, a difference of 0.01."
    )
    assert "- Demo, week ending " in said["financial_weekly.adds_up_in_xero"]
    # No invoice answers for that income.
    assert set(said) == {"financial_weekly.adds_up_in_xero", "revenue_weekly.revenue_matches_income"}


def test_an_organisation_that_is_not_connected_need_not_be_fresh(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        at.sync(checks=True)
        at.clock.advance(days=9)
        stale = {"financial_weekly.fresh", "revenue_weekly.fresh", "cash_position_weekly.fresh"}
        assert set(failing_checks(at.look())) == stale
        at.warehouse.tokens.set_status(TENANT, ConnectionStatus.RECONNECT_NEEDED)
        assert failing_checks(at.look()) == {}


def test_a_check_is_not_fooled_by_an_organisation_that_has_gone(at: Running) -> None:
    """Its figures stay, under its id once nobody knows its name any more."""
    change(at, f"INSERT INTO financial_weekly SELECT 'gone', week_ending, basis, total_trading_income, cost_of_sales, "
        "'1.00', other_income, operating_expenses, net_profit, data_source, currency, updated_at FROM "
        f"financial_weekly WHERE tenant_id = '{TENANT}' AND week_ending = '{at.latest}'")  # fmt: skip
    said = failing_checks(at.look(("financial_weekly", "gross_and_net_add_up")))
    assert f"- gone, week ending {at.latest}: gross_profit is 1.00" in said["financial_weekly.gross_and_net_add_up"]


@pytest.mark.parametrize(("asset", "rule"), RULES, ids=lambda value: getattr(value, "name", value))
def test_a_check_says_what_failing_means_and_what_to_do(asset: str, rule: AssetCheckRule) -> None:
    first, *rest = rule.description.split(". ")
    warns = rule.severity is dg.AssetCheckSeverity.WARN
    assert first.startswith("Warns when" if warns else "Fails when")
    assert any(word in " ".join(rest) for word in ("Sync", "sync", "Look", "Open", "See"))


def test_an_empty_warehouse_fails_nothing_but_freshness(tmp_path: Path) -> None:
    with running(tmp_path) as at:
        assert failing_checks(at.look()) == {}
        at.clock.advance(days=9)
        said = failing_checks(at.look())
    assert all(name.endswith(".fresh") for name in said)
    assert "no week is held at all" in said["revenue_weekly.fresh"]
    assert f"week ending {Week.containing(at.clock.now().date()).previous}" in said["revenue_weekly.fresh"]
