"""The profit and loss in every layout and with every oddity that Xero's reports are known for."""

from __future__ import annotations

import copy
from decimal import Decimal as D
from typing import Any

import pytest

from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.readers.accounts import Account, read_accounts
from xero_pipeline.xero.readers.profit_and_loss import ProfitAndLoss, read_profit_and_loss
from xero_pipeline_tests.xero.readers.report_payloads import (
    WEEK,
    Json,
    chart,
    detail,
    line,
    plain,
    report,
    sample,
    section,
    total,
)

CHART = chart(
    sales="REVENUE",
    fees="SALES",
    materials="DIRECTCOSTS",
    interest="OTHERINCOME",
    rent="OVERHEADS",
    wages="WAGESEXPENSE",
    depreciation="DEPRECIATN",
    super="SUPERANNUATIONEXPENSE",
    bank="EXPENSE",
    cheque="BANK",
    newcost="SOMETHINGNEW:EXPENSE",
    newincome="SOMETHINGNEW:REVENUE",
    asset="SOMETHINGNEW:ASSET",
)
FIGURES = (
    "total_trading_income",
    "cost_of_sales",
    "gross_profit",
    "other_income",
    "operating_expenses",
    "net_profit",
)
SALES = section("Income", detail("sales", "100.00"), total("Total Income", "100.00"))
COSTS = section("Less Cost of Sales", detail("materials", "40.00"), total("Total Cost of Sales", "40.00"))
RENT = section("Less Operating Expenses", detail("rent", "30.00"), total("Total Operating Expenses", "30.00"))


def read(*rows: Json, accounts: dict[str, Account] | None = None, **title: Any) -> ProfitAndLoss:
    return read_profit_and_loss(report(*rows, **title), week=WEEK, accounts=CHART if accounts is None else accounts)


def figures(result: ProfitAndLoss) -> list[str]:
    assert result.totals["gross_profit"] == result.totals["total_trading_income"] - result.totals["cost_of_sales"]
    return [str(result.totals[name]) for name in FIGURES]


def lines(result: ProfitAndLoss) -> dict[str, tuple[str, str]]:
    return {row.account_id: (row.category, str(row.amount)) for row in result.lines.itertuples()}


def list_differences(result: ProfitAndLoss) -> list[tuple[str, str, str]]:
    return [(difference.where, str(difference.stated), str(difference.computed)) for difference in result.differences]


def test_the_sample_has_exactly_its_stated_figures_although_no_account_is_known() -> None:
    result = read_profit_and_loss(sample("profit_and_loss_au"), week=WEEK, accounts=read_accounts(sample("accounts")))
    assert figures(result) == ["230450.05", "69348.22", "161101.83", "312.07", "92591.60", "68822.30"]
    assert result.differences == []
    assert lines(result)["FXGROUPID"] == ("operating_expenses", "-18.40")
    assert lines(result)["1a6d7f2c-0a0b-4c64-9f0e-000000000203"] == ("trading_income", "-1210.35")
    assert result.lines["account_code"].tolist() == [None] * 9
    assert result.lines["account_type"].tolist() == [None] * 9
    assert all(isinstance(amount, D) for amount in result.lines["amount"])
    assert "Foreign currency gains and losses" in " ".join(result.notes)


def test_account_types_decide_and_labels_do_not() -> None:
    result = read(
        section("Rent", detail("sales", "100.00", "Wages"), detail("fees", "20.00", "Materials")),
        section("Sales", detail("materials", "40.00", "Interest income")),
        line("Operating loss", "80.00"),
        section("Cost of sales", detail("interest", "5.00")),
        section(
            "Income",
            *(detail(account, "1.00") for account in ("rent", "wages", "depreciation", "super", "bank", "newcost")),
        ),
        line("Turnover", "79.00"),
    )
    assert figures(result) == ["120.00", "40.00", "80.00", "5.00", "6.00", "79.00"]
    assert result.differences == []
    assert result.notes == []


def test_a_section_of_the_united_states_with_negative_expenses() -> None:
    result = read(
        SALES,
        section("Cost of Goods Sold", detail("materials", "40.00"), total("Total Cost of Goods Sold", "40.00")),
        line("Gross Profit", "60.00"),
        section("Operating Expenses", detail("rent", "30.00"), total("Total Operating Expenses", "30.00")),
        line("Operating Income", "30.00"),
        section(
            "Other Income / (Expense)",
            detail("interest", "5.00"),
            detail("bank", "-12.50"),
            detail("FXGROUPID", "-1.00"),
            total("Total Other Income / (Expense)", "-8.50"),
        ),
        line("Net Income / (Loss) before Tax", "21.50"),
        line("Net Income", "21.50"),
    )
    assert figures(result) == ["100.00", "40.00", "60.00", "5.00", "43.50", "21.50"]
    assert lines(result)["bank"] == ("operating_expenses", "12.50")
    assert lines(result)["FXGROUPID"] == ("operating_expenses", "1.00")
    assert result.differences == []


@pytest.mark.parametrize("title", ["Other Income", "Less Operating Expenses"])
def test_grouped_currency_gains_are_not_trading_figures_without_a_gross_profit_line(title: str) -> None:
    gain = title == "Other Income"
    result = read(
        SALES,
        section(title, detail("FXGROUPID", "7.00"), total(f"Total {title}", "7.00")),
        line("Net Profit", "107.00" if gain else "93.00"),
    )
    expected = ["100.00", "0.00", "100.00", "7.00", "0.00", "107.00"]
    assert figures(result) == (expected if gain else ["100.00", "0.00", "100.00", "0.00", "7.00", "93.00"])


def test_an_account_in_gross_profit_whose_type_is_not_trading_gives_a_difference() -> None:
    result = read(
        SALES,
        section(
            "Less Cost of Sales", detail("materials", "40.00"), detail("wages", "10.00"), total("Total Cost", "50.00")
        ),
        line("Gross Profit", "50.00"),
        RENT,
        line("Net Profit", "20.00"),
    )
    assert figures(result) == ["100.00", "40.00", "60.00", "0.00", "40.00", "20.00"]
    assert [str(difference) for difference in result.differences] == [
        "Gross Profit: Xero states 50.00, its parts add up to 60.00"
    ]


NEGATIVE_EXPENSE = (
    SALES,
    COSTS,
    line("Gross Profit", "60.00"),
    RENT,
    line("Operating Income", "30.00"),
    section("Other Expense", detail("bank", "-12.50")),
)


def test_a_section_of_negative_expenses_is_recognised_by_the_profit_line() -> None:
    result = read(*NEGATIVE_EXPENSE, line("Net Income", "17.50"))
    assert lines(result)["bank"] == ("operating_expenses", "12.50")
    assert figures(result)[4:] == ["42.50", "17.50"]
    assert result.differences == []
    assert result.notes == []


@pytest.mark.parametrize("net_profit", ["17.49", "17.51", "17.41"])
def test_a_profit_line_that_is_cents_off_still_shows_negative_expenses_and_gives_a_difference(net_profit: str) -> None:
    result = read(*NEGATIVE_EXPENSE, line("Net Income", net_profit))
    assert lines(result)["bank"] == ("operating_expenses", "12.50")
    assert figures(result)[4:] == ["42.50", "17.50"]
    assert list_differences(result) == [("Net Income", net_profit, "17.50")]


def test_a_profit_line_that_is_more_than_cents_off_flips_no_sign() -> None:
    result = read(SALES, RENT, line("Net Profit", "130.11"))
    assert figures(result)[4:] == ["30.00", "70.00"]
    assert list_differences(result) == [("Net Profit", "130.11", "70.00")]


@pytest.mark.parametrize(
    ("net_profit", "flipped", "note"),
    [
        ("90.00", ("rent", "-30.00"), "Expenses that add to the profit"),
        ("-170.00", ("sales", "-100.00"), "Income that reduces the profit"),
    ],
)
def test_profit_lines_that_contradict_a_sections_accounts_decide_and_are_noted(
    net_profit: str, flipped: tuple[str, str], note: str
) -> None:
    result = read(SALES, COSTS, RENT, line("Net Profit", net_profit))
    account, amount = flipped
    assert lines(result)[account][1] == amount
    assert figures(result)[5] == net_profit
    assert result.differences == []
    assert result.notes == [f"{note}, by the report's own profit lines: {account}."]


def test_negative_expenses_are_flipped_before_income_of_the_same_amount() -> None:
    result = read(
        SALES,
        line("Gross Profit", "100.00"),
        section("Other Income", detail("interest", "12.50")),
        section("Other Expense", detail("bank", "-12.50")),
        line("Net Income", "100.00"),
    )
    assert lines(result)["interest"] == ("other_income", "12.50")
    assert lines(result)["bank"] == ("operating_expenses", "12.50")
    assert not result.differences


def test_negative_figures_keep_their_meaning() -> None:
    result = read(
        section("Income", detail("sales", "-100.00")),
        section("Less Cost of Sales", detail("materials", "-40.00")),
        line("Gross Profit", "-60.00"),
        section("Less Operating Expenses", detail("rent", "30.00"), detail("bank", "-31.00")),
        line("Net Profit", "-59.00"),
    )
    assert figures(result) == ["-100.00", "-40.00", "-60.00", "0.00", "-1.00", "-59.00"]
    assert result.differences == []


@pytest.mark.parametrize("rows", [None, [], "missing", [line("Net Profit", "0.00")]])
def test_a_report_without_rows_or_without_a_header_is_refused(rows: Any) -> None:
    """It set the week's figures to 0.00 with `success`; even a week without figures has a header."""
    payload = report()
    payload["Reports"][0]["Rows"] = rows
    if rows == "missing":
        del payload["Reports"][0]["Rows"]
    with pytest.raises(PayloadNotUnderstood, match="no header or no rows"):
        read_profit_and_loss(payload, week=WEEK, accounts={})


def test_a_report_that_states_money_without_any_account_is_refused() -> None:
    """It overwrote good figures with six zeros."""
    payload = report(section("Income", total("Total Income", "20000.00")), line("Net Profit", "20000.00"))
    with pytest.raises(PayloadNotUnderstood, match="states money and has no row with an account"):
        read_profit_and_loss(payload, week=WEEK, accounts={})


def test_a_report_with_a_header_alone_is_an_empty_week() -> None:
    result = read_profit_and_loss(report(), week=WEEK, accounts={})
    assert figures(result) == ["0.00"] * 6
    assert len(result.lines) == 0
    assert list(result.lines.columns) == [
        "account_id", "account_code", "account_name", "account_type", "category", "amount",
    ]  # fmt: skip
    assert result.differences == []


def test_sections_may_lack_their_title_their_rows_or_both() -> None:
    bare: Json = {"RowType": "Section"}
    result = read(
        section(None, detail("sales", "100.00")),
        bare,
        {"RowType": "Section", "Title": "Less Cost of Sales", "Rows": None},
        {"RowType": "Row"},
        section(None),
        section(None, plain("Gross Profit", "100.00")),
        section(None, detail("rent", "30.00"), {"RowType": "Row", "Cells": []}, plain("", "")),
        section(None, plain("Net Profit", "70.00")),
    )
    assert figures(result) == ["100.00", "0.00", "100.00", "0.00", "30.00", "70.00"]
    assert result.differences == []


def test_rows_outside_sections_are_distinguished_by_their_accounts() -> None:
    result = read(
        detail("sales", "100.00"),
        detail("materials", "40.00"),
        plain("Gross Profit", "60.00"),
        detail("interest", "5.00"),
        detail("rent", "30.00"),
        total("Net Profit", "35.00"),
    )
    assert figures(result) == ["100.00", "40.00", "60.00", "5.00", "30.00", "35.00"]
    assert result.differences == []


def test_one_section_may_hold_the_whole_report() -> None:
    result = read(
        section(
            "",
            detail("sales", "100.00"),
            detail("materials", "40.00"),
            plain("Gross Profit", "60.00"),
            detail("rent", "30.00"),
            plain("Net Profit", "30.00"),
        )
    )
    assert figures(result) == ["100.00", "40.00", "60.00", "0.00", "30.00", "30.00"]
    assert result.differences == []


def test_totals_of_nested_sections_are_checked() -> None:
    result = read(
        section(
            "Ordinary",
            section("Income", detail("sales", "100.00"), total("Total Income", "100.00")),
            section("Cost", detail("materials", "40.00"), total("Total Cost", "40.00")),
            total("Total Ordinary", "60.00"),
        ),
        line("Gross Profit", "60.00"),
        section(
            "Expenses",
            section("People", detail("wages", "10.00"), total("Total People", "10.00")),
            section("Premises", detail("rent", "30.00"), total("Total Premises", "30.00")),
            total("Total Expenses", "40.00"),
        ),
        line("Net Profit", "20.00"),
    )
    assert figures(result) == ["100.00", "40.00", "60.00", "0.00", "40.00", "20.00"]
    assert result.differences == []


def test_row_types_may_be_written_in_any_case() -> None:
    payload = report(SALES, line("Gross Profit", "100.00"))
    text = copy.deepcopy(payload)
    for row in text["Reports"][0]["Rows"]:
        row["RowType"] = row["RowType"].upper()
        for inner in row.get("Rows", []):
            inner["RowType"] = inner["RowType"].lower()
    assert figures(read_profit_and_loss(text, week=WEEK, accounts=CHART))[0] == "100.00"


def test_amounts_may_be_numbers() -> None:
    result = read(section("", detail("sales", 100)), section("", detail("rent", D("30.5"))), line("Net", D("69.5")))
    assert figures(result) == ["100.00", "0.00", "100.00", "0.00", "30.50", "69.50"]
    assert result.differences == []


def test_rows_with_a_zero_amount_are_kept_as_lines() -> None:
    result = read(section("", detail("sales", "0.00")), section("", detail("rent", "-0.00")), line("Net", "0.00"))
    assert lines(result) == {"sales": ("trading_income", "0.00"), "rent": ("operating_expenses", "0.00")}
    assert result.differences == []


def test_the_account_may_be_named_by_any_cell_in_any_capitalisation() -> None:
    row = detail("SALES", "100.00", attribute="AccOunt")
    row["Cells"][0]["Attributes"] = []
    result = read(section("", row), line("Net", "100.00"))
    assert lines(result) == {"sales": ("trading_income", "100.00")}
    assert result.lines["account_code"].tolist() == ["200"]


def test_an_account_with_two_rows_is_one_line() -> None:
    result = read(
        section("", detail("sales", "100.00")),
        line("Gross Profit", "100.00"),
        section("People", detail("wages", "10.00")),
        section("More people", detail("wages", "5.00"), detail("rent", "1.00")),
        line("Net Profit", "84.00"),
    )
    assert lines(result)["wages"] == ("operating_expenses", "15.00")
    assert result.differences == []


def test_an_unknown_type_with_the_class_of_revenue_is_income_by_its_position() -> None:
    result = read(
        section("", detail("newincome", "100.00")),
        section("", detail("materials", "40.00")),
        line("Gross Profit", "60.00"),
        section("", detail("rent", "30.00")),
        line("Net Profit", "30.00"),
    )
    assert lines(result)["newincome"] == ("trading_income", "100.00")
    after = read(SALES, line("Gross", "100.00"), section("", detail("newincome", "7.00")), RENT, line("Net", "77.00"))
    assert lines(after)["newincome"] == ("other_income", "7.00")
    assert "Newincome" in after.notes[0] or "newincome" in after.notes[0]


def test_unknown_accounts_get_the_category_of_the_known_ones_in_their_section() -> None:
    result = read(
        section("", detail("sales", "100.00"), detail("x1", "-3.00")),
        section("", detail("materials", "40.00"), detail("x2", "2.00")),
        line("Gross Profit", "55.00"),
        section("", detail("interest", "5.00"), detail("x3", "1.00")),
        section("", detail("rent", "30.00"), detail("x4", "4.00")),
        line("Net Profit", "27.00"),
    )
    assert {key: value for key, value in lines(result).items() if key.startswith("x")} == {
        "x1": ("trading_income", "-3.00"),
        "x2": ("cost_of_sales", "2.00"),
        "x3": ("other_income", "1.00"),
        "x4": ("operating_expenses", "4.00"),
    }
    assert result.differences == []


def test_unknown_accounts_before_a_single_net_profit_are_income_and_expenses() -> None:
    result = read(section("", detail("x", "100.00")), section("", detail("y", "30.00")), line("Net Profit", "70.00"))
    assert figures(result) == ["100.00", "0.00", "100.00", "0.00", "30.00", "70.00"]
    assert result.differences == []


def test_unknown_costs_above_gross_profit_are_found_although_the_income_is_stated_as_a_line() -> None:
    result = read(
        section("", detail("sales", "100.00")),
        line("Total Income", "100.00"),
        section("", detail("x", "40.00")),
        line("Gross Profit", "60.00"),
        section("", detail("rent", "30.00")),
        line("Net Profit", "30.00"),
    )
    assert figures(result) == ["100.00", "40.00", "60.00", "0.00", "30.00", "30.00"]


def test_lines_that_sum_up_sections_are_not_profit_lines() -> None:
    result = read(
        section("Income", detail("sales", "100.00")),
        line("Total Income", "100.00"),
        section("Cost", detail("materials", "40.00")),
        line("Total Cost", "40.00"),
        line("Gross Profit", "60.00"),
        section("People", detail("wages", "10.00")),
        section("Premises", detail("rent", "30.00")),
        section("", total("Total Expenses", "40.00")),
        line("Net Profit", "20.00"),
    )
    assert figures(result) == ["100.00", "40.00", "60.00", "0.00", "40.00", "20.00"]
    assert result.differences == []


def test_profit_lines_may_be_totals_of_sections_without_rows() -> None:
    result = read(
        SALES, section("", total("Gross Profit", "100.00")), RENT, section("Net Profit", total("Net Profit", "70.00"))
    )
    assert figures(result)[5] == "70.00"
    assert result.differences == []


def test_a_zero_total_of_a_section_without_rows_is_ignored() -> None:
    result = read(
        SALES,
        section("Less Cost of Sales", total("Total Cost of Sales", "0.00")),
        line("Gross Profit", "100.00"),
        section(None, total("Total Other Income", "0.00")),
        RENT,
        line("Net Profit", "70.00"),
    )
    assert figures(result) == ["100.00", "0.00", "100.00", "0.00", "30.00", "70.00"]
    assert not result.differences


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [section("", detail("sales", "100.00"), total("Total", "100.01")), line("Net", "100.00")],
            [("the total 'Total'", "100.01", "100.00")],
        ),
        (
            [SALES, COSTS, line("Gross", "61.00"), RENT, line("Net", "30.00")],
            [("Gross", "61.00", "60.00")],
        ),
        (
            [SALES, COSTS, line("Gross", "60.00"), RENT, line("Net", "31.00")],
            [("Net", "31.00", "30.00")],
        ),
        (
            [SALES, COSTS, line("Gross", "61.00"), RENT, line("Net", "31.00")],
            [("Gross", "61.00", "60.00"), ("Net", "31.00", "30.00")],
        ),
        (
            [SALES, COSTS, line("Gross", "60.00"), RENT],
            [("net profit, with the rows after 'Gross'", "60.00", "30.00")],
        ),
        ([SALES, RENT], [("net profit, which the report does not state", "0.00", "70.00")]),
        (
            [section("Income", total("Total Income", "100.00")), RENT, line("Net", "-30.00")],
            [("Total Income", "100.00", "0.00")],
        ),
        (
            [
                SALES,
                line("Gross", "100.00"),
                section("", detail("rent", "30.00"), detail("bank", "-30.00")),
                line("Net", "0.00"),
            ],
            [("Net", "0.00", "100.00")],
        ),
        (
            [SALES, line("Memo", "12.34"), COSTS, line("Gross", "60.00"), RENT, line("Net", "30.00")],
            [("Memo", "12.34", "100.00")],
        ),
    ],
)
def test_what_does_not_add_up_gives_a_difference_and_keeps_the_figures_of_the_rows(
    rows: list[Json], expected: list[tuple[str, str, str]]
) -> None:
    result = read(*rows)
    assert list_differences(result) == expected
    net = result.totals["gross_profit"] + result.totals["other_income"] - result.totals["operating_expenses"]
    assert result.totals["net_profit"] == net
    assert all(row[1].lstrip("-") in {"100.00", "40.00", "30.00"} for row in lines(result).values())


def test_trading_income_below_gross_profit_gives_a_difference() -> None:
    result = read(
        section("", detail("sales", "100.00")),
        line("Gross Profit", "100.00"),
        RENT,
        section("", detail("fees", "5.00")),
        line("Net Profit", "75.00"),
    )
    # By its type it is trading income, but Xero's gross profit does not include it.
    assert list_differences(result) == [("Gross Profit", "100.00", "105.00")]
    assert figures(result)[5] == "75.00"


@pytest.mark.parametrize(
    "row",
    [
        detail("sales", ""),
        detail("sales", None),
        detail("sales", "1,234.00"),
        detail("sales", "(18.40)"),
        detail("sales", "$18.40"),
        detail("sales", "1e3"),
        detail("sales", "NaN"),
        detail("sales", 18.4),
        detail("sales", True),
        detail("sales", {"amount": "1.00"}),
        detail("sales", "18.405"),
        detail("sales", "99999999999999999999.00"),
        {"RowType": "Row", "Cells": [{"Value": "Sales", "Attributes": [{"Id": "account", "Value": "sales"}]}]},
        detail("", "18.40"),
        detail("cheque", "18.40"),
        detail("asset", "18.40"),
        plain("Gross Profit", "60.00 %"),
        total("Total", "n/a"),
        {"RowType": "Subtotal", "Cells": []},
        {"RowType": None, "Cells": []},
        {"Cells": []},
        {"RowType": "Row", "Cells": "x"},
        {"RowType": "Row", "Cells": [None]},
        {"RowType": "Row", "Cells": [{"Value": "x", "Attributes": {"Id": "account", "Value": "sales"}}]},
        {**plain("x", "1.00"), "Rows": [detail("sales", "1.00")]},
        {**section("x"), "Cells": [{"Value": "x"}, {"Value": "1.00"}]},
        {"RowType": "Section", "Rows": {"RowType": "Row"}},
        {
            "RowType": "Row",
            "Cells": [
                {"Value": "Sales", "Attributes": [{"Id": "account", "Value": "sales"}]},
                {"Value": "1.00", "Attributes": [{"Id": "account", "Value": "rent"}]},
            ],
        },
    ],
)
def test_a_row_that_is_not_understood_is_an_error_that_shows_no_figure(row: Json) -> None:
    with pytest.raises(PayloadNotUnderstood) as error:
        read(section("Income", row))
    assert "18.4" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_second_column_is_an_error_with_or_without_its_header() -> None:
    row = detail("sales", "100.00")
    row["Cells"].append({"Value": "90.00"})
    with pytest.raises(PayloadNotUnderstood, match="more than the one requested column"):
        read(section("", row), line("Net", "100.00"))
    payload = report(SALES, line("Net", "100.00"))
    payload["Reports"][0]["Rows"][0]["Cells"].append({"Value": "14 Nov 26"})
    with pytest.raises(PayloadNotUnderstood, match="more than the one requested column"):
        read_profit_and_loss(payload, week=WEEK, accounts=CHART)


def test_a_report_for_other_dates_is_an_error_that_names_both_periods() -> None:
    with pytest.raises(WrongPeriod) as error:
        read(SALES, line("Net", "100.00"), title="1 November 2026 to 30 November 2026")
    for day in ("2026-11-01", "2026-11-30", "2026-11-15", "2026-11-21"):
        assert day in str(error.value)


@pytest.mark.parametrize("titles", [None, [], "15 to 21 November 2026", 5, [None], ["Profit & Loss"]])
def test_a_report_that_names_no_dates_is_an_error(titles: Any) -> None:
    payload = report(SALES)
    payload["Reports"][0]["ReportTitles"] = titles
    with pytest.raises(PayloadNotUnderstood):
        read_profit_and_loss(payload, week=WEEK, accounts=CHART)


@pytest.mark.parametrize("reports", [None, [], [None], {}, "both"])
def test_anything_but_exactly_one_report_is_an_error(reports: Any) -> None:
    one = report(SALES)["Reports"][0]
    with pytest.raises(PayloadNotUnderstood):
        read_profit_and_loss({"Reports": [one, one] if reports == "both" else reports}, week=WEEK, accounts={})


def test_another_report_is_refused_by_its_type() -> None:
    payload = sample("balance_sheet_three_columns")
    payload["Reports"][0]["ReportTitles"][-1] = "15 November 2026 to 21 November 2026"
    with pytest.raises(PayloadNotUnderstood, match="balancesheet"):
        read_profit_and_loss(payload, week=WEEK, accounts=CHART)


def test_thirty_sections_that_do_not_add_up_give_a_difference_quickly() -> None:
    sections = [section(f"Expenses {n}", detail(f"x{n}", f"{n}.0{n % 10}")) for n in range(1, 31)]
    result = read(SALES, line("Gross", "100.00"), *sections, line("Net", "12345.67"))
    assert result.differences
    assert len(result.lines) == 31
