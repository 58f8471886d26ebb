"""Reading the organisation and the chart of accounts."""

from __future__ import annotations

from typing import Any

import pytest

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.accounts import Account, read_accounts, read_organisation
from xero_pipeline_tests.xero.readers.report_payloads import sample


def test_the_sample_chart_is_read_with_code_name_and_type() -> None:
    accounts = read_accounts(sample("accounts"))
    assert accounts["7d05a53d-613d-4eb2-a2fc-dcb6adb80b80"] == Account(
        "7d05a53d-613d-4eb2-a2fc-dcb6adb80b80", "200", "Sales", "REVENUE", None
    )
    assert {account.type for account in accounts.values()} == {"BANK", "REVENUE"}


def test_an_account_is_found_in_any_capitalisation_of_its_id() -> None:
    accounts = read_accounts({"Accounts": [{"AccountID": "ABC-1", "Name": "Sales", "Type": "Revenue", "Code": 200}]})
    account = accounts[normalise_id("abc-1")]
    assert (account.account_id, account.type, account.code) == ("abc-1", "REVENUE", "200")


def test_an_archived_account_is_kept_with_its_class() -> None:
    row = {"AccountID": "a", "Name": "FX", "Type": "EXPENSE", "Class": "Expense", "Status": "Archived"}
    account = read_accounts({"Accounts": [row]})["a"]
    assert (account.type, account.class_) == ("EXPENSE", "EXPENSE")


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"Accounts": None},
        {"Accounts": {}},
        {"Accounts": ["x"]},
        {"Accounts": [{"Type": "SALES"}]},
        {"Accounts": [{"AccountID": "a"}]},
    ],
)
def test_an_invalid_chart_is_an_error(payload: dict[str, Any]) -> None:
    with pytest.raises(PayloadNotUnderstood):
        read_accounts(payload)


def test_the_sample_organisation_is_read() -> None:
    details = read_organisation(sample("organisation"))
    assert details.base_currency == "NZD"
    recorded = read_organisation(sample("recorded_exchanges")["organisation"]["body"])
    assert recorded.name == "Demo Company (NZ)"


@pytest.mark.parametrize(
    "payload",
    [{}, {"Organisations": []}, {"Organisations": [{}, {}]}, {"Organisations": [{"Name": "No currency"}]}],
)
def test_an_answer_without_one_described_organisation_is_an_error(payload: dict[str, Any]) -> None:
    with pytest.raises(PayloadNotUnderstood):
        read_organisation(payload)
