"""GET Organisation, Accounts, Currencies and TrackingCategories: the parts of an organisation that never change."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from xero_pipeline.mock_xero.api.listing import parse_modified_since
from xero_pipeline.mock_xero.api.rendering import derive_option_id, derive_tracking_id, format_moment
from xero_pipeline.mock_xero.api.where import Fields, parse_filter, sort_by
from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.chart import MockAccount
from xero_pipeline.mock_xero.books.seeded_random import derive_uuid
from xero_pipeline.mock_xero.messages import MockRequest
from xero_pipeline.mock_xero.organisations import MockOrganisation

Json = dict[str, Any]

_FOUNDED = dt.datetime(2014, 12, 1, tzinfo=dt.UTC)
_TIME_ZONES = {
    "AU": "AUSEASTERNSTANDARDTIME",
    "NZ": "NEWZEALANDSTANDARDTIME",
    "GB": "GMTSTANDARDTIME",
    "US": "EASTERNSTANDARDTIME",
}
# Xero's `Version` of an organisation, by country; every other country has the global one.
_VERSIONS = {"AU": "AU", "NZ": "NZ", "GB": "UK", "US": "US"}


def render_organisation(organisation: MockOrganisation) -> Json:
    short = derive_uuid(organisation.tenant_id, "short code").replace("-", "")[:5]
    return {
        "Organisations": [
            {
                "Name": organisation.name,
                "LegalName": organisation.name,
                "PaysTax": True,
                "Version": _VERSIONS.get(organisation.country, "GLOBAL"),
                "OrganisationType": "COMPANY",
                "BaseCurrency": organisation.base_currency,
                "CountryCode": organisation.country,
                "IsDemoCompany": False,
                "OrganisationStatus": "ACTIVE",
                "FinancialYearEndDay": 30,
                "FinancialYearEndMonth": 6,
                "SalesTaxBasis": "ACCRUALS",
                "SalesTaxPeriod": "QUARTERLY1",
                "DefaultSalesTax": "Tax Exclusive",
                "DefaultPurchasesTax": "Tax Exclusive",
                "CreatedDateUTC": f"/Date({int(_FOUNDED.timestamp()) * 1000})/",
                "OrganisationEntityType": "COMPANY",
                "Timezone": _TIME_ZONES.get(organisation.country, "UTC"),
                "ShortCode": f"!{short}",
                "OrganisationID": organisation.organisation_id,
                "Edition": "BUSINESS",
                "Class": "PREMIUM",
                "Addresses": [],
                "Phones": [],
                "ExternalLinks": [],
                "PaymentTerms": {},
            }
        ]
    }


def render_accounts(
    organisation: MockOrganisation, accounts_by_code: Mapping[str, MockAccount], request: MockRequest
) -> list[Json]:
    """The chart of accounts, with Xero's `where`, `order` and `If-Modified-Since`.

    Raises:
        QueryProblem: Xero would reject `where` or `order`.
    """
    accounts = [_render_account(organisation, account) for account in accounts_by_code.values()]
    known = {"AccountID": "", "Code": "", "Name": "", "Type": "", "Class": "", "Status": "", "TaxType": ""}
    accounts = _select_rows(accounts, request, known, "Account")
    since = parse_modified_since(request)
    return accounts if since is None or since <= _FOUNDED else []


def render_currencies(organisation: MockOrganisation, request: MockRequest) -> list[Json]:
    """The base currency and those of the documents, with Xero's `where` and `order`, as `render_accounts` has them."""
    names = {organisation.base_currency: organisation.base_currency, **chart.CURRENCIES}
    rows = [{"Code": code, "Description": name} for code, name in sorted(names.items())]
    return _select_rows(rows, request, {"Code": "", "Description": ""}, "Currency")


def render_tracking(organisation: MockOrganisation, request: MockRequest) -> list[Json]:
    """The tracking categories, with Xero's `where` and `order`, as `render_accounts` has them."""
    tenant = organisation.tenant_id
    categories: list[Json] = [
        {
            "Name": name,
            "Status": "ACTIVE",
            "TrackingCategoryID": derive_tracking_id(tenant, name),
            "Options": [
                {
                    "TrackingOptionID": derive_option_id(tenant, name, option),
                    "Name": option,
                    "Status": "ACTIVE",
                    "HasValidationErrors": False,
                    "IsDeleted": False,
                    "IsArchived": False,
                    "IsActive": True,
                }
                for option in options
            ],
        }
        for name, options in chart.TRACKING.items()
    ]
    known = {"TrackingCategoryID": "", "Name": "", "Status": ""}
    return _select_rows(categories, request, known, "TrackingCategory")


def _select_rows(rows: list[Json], request: MockRequest, known: Fields, kind: str) -> list[Json]:
    """The rows that pass `where`, sorted by `order`."""
    if where := request.parameter("where"):
        row_filter = parse_filter(where, known, kind)
        rows = [row for row in rows if row_filter.test(row)]
    if order := request.parameter("order"):
        sort_by(order, rows, lambda row: row, known, kind)
    return rows


def _render_account(organisation: MockOrganisation, account: MockAccount) -> Json:
    tax = "NONE"
    if account.is_profit_and_loss and account.type != "DEPRECIATN":
        tax = "OUTPUT" if account.is_income else "INPUT"
    json: Json = {
        "AccountID": account.id,
        "Code": account.code,
        "Name": account.name,
        "Status": "ARCHIVED" if account.archived else "ACTIVE",
        "Type": account.type,
        "TaxType": tax,
        "Class": account.account_class,
        "EnablePaymentsToAccount": False,
        "ShowInExpenseClaims": account.type in ("EXPENSE", "OVERHEADS"),
        "ReportingCode": "",
        "HasAttachments": False,
        "UpdatedDateUTC": format_moment(_FOUNDED),
        "AddToWatchlist": False,
    }
    if account.system:
        json["SystemAccount"] = account.system
    if account.type == "BANK":
        foreign = account.code == chart.FOREIGN_BANK
        currency = chart.get_foreign_bank_currency(organisation) if foreign else organisation.base_currency
        json |= {"BankAccountNumber": f"06200010{account.code}", "BankAccountType": "BANK", "CurrencyCode": currency}
    return json
