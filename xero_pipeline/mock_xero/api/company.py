"""GET Organisation, Accounts, TrackingCategories: what of an organisation stands still."""

from __future__ import annotations

import datetime as dt
from typing import Any

from xero_pipeline.mock_xero.api.listing import read_since
from xero_pipeline.mock_xero.api.rendering import moment_text
from xero_pipeline.mock_xero.api.where import read_filter, sort_by
from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.chart import MockAccount
from xero_pipeline.mock_xero.books.seeded_random import steady_uuid
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


def organisation_json(organisation: MockOrganisation) -> Json:
    short = steady_uuid(organisation.tenant_id, "short code").replace("-", "")[:5]
    return {
        "Organisations": [
            {
                "Name": organisation.name,
                "LegalName": organisation.name,
                "PaysTax": True,
                "Version": organisation.country if organisation.country in _TIME_ZONES else "GLOBAL",
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
                "OrganisationID": organisation.tenant_id,
                "Edition": "BUSINESS",
                "Class": "PREMIUM",
                "Addresses": [],
                "Phones": [],
                "ExternalLinks": [],
                "PaymentTerms": {},
            }
        ]
    }


def accounts_json(organisation: MockOrganisation, request: MockRequest) -> Json:
    """The chart of accounts; `where`, `order` and `If-Modified-Since` as Xero has them.

    Raises:
        QueryProblem: a filter that Xero would not take.
    """
    accounts = [_account(organisation, one) for one in chart.chart_of(organisation).values()]
    known = {"AccountID": "", "Code": "", "Name": "", "Type": "", "Class": "", "Status": "", "TaxType": ""}
    if where := request.parameter("where"):
        wanted = read_filter(where, known, "Account")
        accounts = [one for one in accounts if wanted.test(one)]
    if order := request.parameter("order"):
        sort_by(order, accounts, lambda one: one, known, "Account")
    since = read_since(request)
    if since is not None and since > _FOUNDED:
        accounts = []
    return {"Accounts": accounts}


def tracking_json(organisation: MockOrganisation) -> Json:
    tenant = organisation.tenant_id
    given = ((chart.REVENUE_TRACKING, chart.REVENUE_TYPES), (chart.REGION_TRACKING, chart.REGIONS))
    return {
        "TrackingCategories": [
            {
                "Name": name,
                "Status": "ACTIVE",
                "TrackingCategoryID": steady_uuid(tenant, "tracking", name),
                "Options": [
                    {
                        "TrackingOptionID": steady_uuid(tenant, "option", name, option),
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
            for name, options in given
        ]
    }


def _account(organisation: MockOrganisation, account: MockAccount) -> Json:
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
        "UpdatedDateUTC": moment_text(_FOUNDED),
        "AddToWatchlist": False,
    }
    if account.system:
        json["SystemAccount"] = account.system
    if account.type == "BANK":
        foreign = account.code == chart.FOREIGN_BANK
        currency = chart.foreign_bank_currency(organisation) if foreign else organisation.base_currency
        json |= {"BankAccountNumber": f"06200010{account.code}", "BankAccountType": "BANK", "CurrencyCode": currency}
    return json
