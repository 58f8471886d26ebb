"""Every answer of the mock is one that Xero's OpenAPI allows, in every country, and every id is a UUID."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from xero_pipeline.mock_xero import MockOrganisation, MockXero
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import TENANT, Client
from xero_pipeline_tests.mock_xero.conftest import UNLIMITED
from xero_pipeline_tests.mock_xero.xero_schema import find_violations

SAMPLES = Path(__file__).parents[1] / "samples"
OCTOBER = {"fromDate": "2026-10-01", "toDate": "2026-10-31"}
WHERE = {"where": "Date>=DateTime(2026, 10, 01) AND Date<DateTime(2026, 11, 24)"}

# A UUID as tenant id, as at Xero. `mock-tenant-001` is the exception that deployments rely on.
ORGANISATIONS = tuple(
    MockOrganisation(str(uuid5(UUID(int=0), layout)), f"Company {layout}", layout, currency, layout)
    for layout, currency in (("AU", "AUD"), ("NZ", "NZD"), ("GB", "GBP"), ("SG", "SGD"), ("US", "USD"))
)
CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Accounts", "Accounts", {}),
    ("Accounts", "Accounts", {"where": 'Type=="BANK"', "order": "Name DESC"}),
    ("Currencies", "Currencies", {}),
    ("Organisations", "Organisation", {}),
    ("Organisations", "Organisations", {}),
    ("TrackingCategories", "TrackingCategories", {"includeArchived": "true"}),
    ("Invoices", "Invoices", WHERE),
    ("Invoices", "Invoices", {**WHERE, "page": 1, "pageSize": 1000}),
    ("Invoices", "Invoices", {**WHERE, "page": 1, "pageSize": 1, "summaryOnly": "true"}),
    ("CreditNotes", "CreditNotes", WHERE),
    ("CreditNotes", "CreditNotes", {**WHERE, "page": 1, "pageSize": 1000}),
    ("Reports", "Reports/BankSummary", OCTOBER),
    ("Reports", "Reports/ProfitAndLoss", OCTOBER),
    ("Reports", "Reports/ProfitAndLoss", {**OCTOBER, "standardLayout": "true", "paymentsOnly": "true"}),
    ("Reports", "Reports/ProfitAndLoss", {**OCTOBER, "periods": 3, "timeframe": "MONTH"}),
    ("Reports", "Reports/ProfitAndLoss", {"fromDate": "2014-01-01", "toDate": "2014-01-07"}),
)


@pytest.fixture(params=ORGANISATIONS, ids=lambda organisation: organisation.layout)
def organisation_client(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Client]:
    mock = MockXero(tmp_path / "mock.db", clock, limits=UNLIMITED, organisations=(request.param,))
    client = Client(mock).sign_in()
    yield client
    client.session.close()


def get_tenant(client: Client) -> str:
    return client.mock.organisations[0].tenant_id


def find_wrong_ids(payload: object, path: str = "") -> list[str]:
    """The fields whose names end in ID and whose values are no UUIDs. A report's id is its name at Xero, too."""
    if isinstance(payload, list):
        return [wrong for index, item in enumerate(payload) for wrong in find_wrong_ids(item, f"{path}/{index}")]
    if not isinstance(payload, dict):
        return []
    wrong = [found for key, item in payload.items() for found in find_wrong_ids(item, f"{path}/{key}")]
    for key, value in payload.items():
        if key.lower().endswith("id") and isinstance(value, str) and key not in ("Id", "ReportID"):
            wrong += [] if is_uuid(value) else [f"{path}/{key}: {value}"]
    account = payload.get("Value") if payload.get("Id") in ("account", "accountID") else None
    return wrong if account in (None, "FXGROUPID") or is_uuid(account) else [*wrong, f"{path}/Value: {account}"]


def is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("answer", "sample"),
    [
        ("Organisations", "organisation"),
        ("TrackingCategories", "tracking_categories"),
        ("Invoices", "invoices"),
        ("CreditNotes", "credit_notes"),
        ("Reports", "bank_summary"),
        ("Reports", "balance_sheet_three_columns"),
        ("Connections", "connections"),
    ],
)
def test_xeros_own_examples_pass_the_schema(answer: str, sample: str) -> None:
    assert find_violations(answer, json.loads((SAMPLES / f"{sample}.json").read_text())) == []


def test_every_answer_is_one_that_xeros_openapi_allows(organisation_client: Client) -> None:
    client, tenant = organisation_client, get_tenant(organisation_client)
    for answer, path, parameters in CALLS:
        payload = client.get(path, parameters, tenant=tenant).json()
        assert find_violations(answer, payload) == [], (path, parameters)
        assert find_wrong_ids(payload) == [], (path, parameters)
        assert payload[answer], (path, parameters)


def test_one_document_account_or_category_is_answered_as_a_list_of_one(organisation_client: Client) -> None:
    client, tenant = organisation_client, get_tenant(organisation_client)
    for container, key in (
        ("Accounts", "AccountID"),
        ("TrackingCategories", "TrackingCategoryID"),
        ("Invoices", "InvoiceID"),
        ("CreditNotes", "CreditNoteID"),
    ):
        parameters = WHERE if container in ("Invoices", "CreditNotes") else {}
        chosen = client.get(container, parameters, tenant=tenant).json()[container][0][key]
        payload = client.get(f"{container}/{chosen.upper()}", tenant=tenant).json()
        assert find_violations(container, payload) == []
        assert [row[key] for row in payload[container]] == [chosen]
    for path in ("Accounts", "TrackingCategories"):
        assert client.get(f"{path}/00000000-0000-4000-8000-000000000000", tenant=tenant).status_code == 404


def test_the_identity_server_answers_as_documented(organisation_client: Client) -> None:
    client = organisation_client
    connections = client.get("/connections").json()
    assert find_violations("Connections", connections) == []
    assert len(connections) == 1
    assert find_violations("AccessToken", client.tokens) == []
    custom = client.request_token(grant_type="client_credentials").json()
    assert find_violations("AccessToken", custom) == []
    client.tokens = custom
    assert find_violations("Connections", client.get("/connections").json()) == []


def test_errors_have_xeros_bodies(organisation_client: Client) -> None:
    client, tenant = organisation_client, get_tenant(organisation_client)
    for path, parameters in (
        ("Reports/ProfitAndLoss", {"fromDate": "2026-10-31", "toDate": "2026-10-01"}),
        ("Invoices", {"where": "Colour==1"}),
        ("Currencies", {"order": "Colour"}),
    ):
        refused = client.get(path, parameters, tenant=tenant)
        assert refused.status_code == 400
        assert find_violations("Error", refused.json()) == []
    assert find_violations("Refusal", client.get("Accounts", tenant="unknown").json()) == []
    client.tokens = {}
    assert find_violations("Refusal", client.get("Accounts", tenant=tenant).json()) == []


def test_of_the_default_organisation_only_the_tenant_id_is_no_uuid(client: Client) -> None:
    for answer, path, parameters in CALLS:
        assert find_violations(answer, client.get(path, parameters).json()) == []
    assert [text.partition(":")[0] for text in find_violations("Connections", client.get("/connections").json())] == [
        "0/tenantId"
    ]


def test_the_organisation_id_is_a_uuid_that_also_names_the_organisation_in_a_call(client: Client) -> None:
    (organisation,) = client.get_json("Organisation")["Organisations"]
    assert is_uuid(organisation["OrganisationID"])
    assert client.get_json("Organisations", tenant=organisation["OrganisationID"].upper())["Organisations"] == [
        organisation
    ]
    assert client.mock.request_log()[-1]["tenant_id"] == TENANT
    assert MockOrganisation(organisation["OrganisationID"]).organisation_id == organisation["OrganisationID"]


def test_every_currency_of_a_document_is_listed(client: Client) -> None:
    listed = {row["Code"]: row["Description"] for row in client.get_json("Currencies")["Currencies"]}
    used = {document["CurrencyCode"] for document in client.get_json("Invoices", WHERE)["Invoices"]}
    assert "AUD" in used
    assert len(used) > 2
    assert used <= listed.keys()
    one = client.get_json("Currencies", {"where": 'Code=="USD"'})["Currencies"]
    assert one == [{"Code": "USD", "Description": "United States Dollar"}]
    reverse = client.get_json("Currencies", {"order": "Code DESC"})["Currencies"]
    assert [row["Code"] for row in reverse] == sorted(listed, reverse=True)


def test_a_client_that_accepts_no_json_gets_xml_with_the_names_of_single_things(client: Client) -> None:
    answer = client.get("Currencies", headers={"Accept": "*/*"})
    assert answer.headers["Content-Type"].startswith("text/xml")
    assert "<Currencies><Currency><Code>AUD</Code>" in answer.text
