"""The chart of accounts, tracking categories, currencies, bank accounts and tax rates: the parts that never change.

An account's `Type` decides its place in profit and loss, as in Xero.
Every type here is one of Xero's, as its OpenAPI lists them (`AccountType`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from xero_pipeline.mock_xero.books.seeded_random import derive_uuid
from xero_pipeline.mock_xero.organisations import MockOrganisation

OPERATING_BANK = "090"
FOREIGN_BANK = "091"
RESIDENTIAL, COMMERCIAL, RETROSPECTIVE = "200", "210", "220"
DISCOUNTS, OTHER_REVENUE = "230", "260"
INTEREST_INCOME, SUNDRY_INCOME = "270", "275"
MATERIALS, SUBCONTRACTORS, SITE_LABOUR = "310", "315", "320"
WAGES, SUPERANNUATION, RENT, DEPRECIATION = "477", "478", "469", "416"
BANK_FEES, INSURANCE, INTEREST_EXPENSE = "404", "433", "437"
# Realised, unrealised and bank revaluation gains, which reports show as one line.
CURRENCY_GAINS = "497"
CURRENCY_GAINS_ID = "FXGROUPID"
CURRENCY_GAINS_NAME = "Foreign currency gains and losses"

REVENUE_TRACKING = "Revenue Type"
REGION_TRACKING = "Region"
REVENUE_TYPES = ("Residential", "Commercial", "Retrospective")
REGIONS = ("North", "South", "East", "West")
TRACKING = {REVENUE_TRACKING: REVENUE_TYPES, REGION_TRACKING: REGIONS}

TRADING_INCOME = frozenset({"REVENUE", "SALES"})
OTHER_INCOME = frozenset({"OTHERINCOME"})
COST_OF_SALES = frozenset({"DIRECTCOSTS"})
EXPENSES = frozenset({"EXPENSE", "OVERHEADS", "DEPRECIATN"})

# The currencies in which a document can be written, with the descriptions that Xero gives them.
CURRENCIES = {
    "AUD": "Australian Dollar",
    "CAD": "Canadian Dollar",
    "EUR": "Euro",
    "GBP": "British Pound",
    "NZD": "New Zealand Dollar",
    "SGD": "Singapore Dollar",
    "USD": "United States Dollar",
}

# Tax rates in percent, by country, for amounts that are taxed.
TAX_PERCENT = {"AU": 10, "NZ": 15, "GB": 20, "US": 8}

CLASSES = {
    "BANK": "ASSET",
    "CURRENT": "ASSET",
    "FIXED": "ASSET",
    "CURRLIAB": "LIABILITY",
    "EQUITY": "EQUITY",
    **dict.fromkeys(TRADING_INCOME | OTHER_INCOME, "REVENUE"),
    **dict.fromkeys(COST_OF_SALES | EXPENSES, "EXPENSE"),
}

# Code, name, type, and a mark: Xero's SystemAccount, or `ARCHIVED`.
_ACCOUNTS = (
    (OPERATING_BANK, "Business Transaction Account", "BANK", ""),
    (FOREIGN_BANK, "Foreign Currency Account", "BANK", ""),
    (RESIDENTIAL, "Residential Sales", "REVENUE", ""),
    (COMMERCIAL, "Commercial Sales", "REVENUE", ""),
    (RETROSPECTIVE, "Retrospective Sales", "SALES", ""),
    (DISCOUNTS, "Discounts Given", "REVENUE", ""),
    (OTHER_REVENUE, "Other Revenue", "REVENUE", ""),
    (INTEREST_INCOME, "Interest Income", "OTHERINCOME", ""),
    (SUNDRY_INCOME, "Sundry Income", "OTHERINCOME", ""),
    ("299", "Sales (old)", "REVENUE", "ARCHIVED"),
    (MATERIALS, "Materials", "DIRECTCOSTS", ""),
    (SUBCONTRACTORS, "Subcontractors", "DIRECTCOSTS", ""),
    (SITE_LABOUR, "Site Labour", "DIRECTCOSTS", ""),
    ("400", "Advertising", "OVERHEADS", ""),
    (BANK_FEES, "Bank Fees", "EXPENSE", ""),
    (DEPRECIATION, "Depreciation", "DEPRECIATN", ""),
    ("429", "General Expenses", "OVERHEADS", ""),
    (INSURANCE, "Insurance", "EXPENSE", ""),
    (INTEREST_EXPENSE, "Interest Expense", "EXPENSE", ""),
    ("449", "Motor Vehicle Expenses", "EXPENSE", ""),
    ("453", "Office Expenses", "OVERHEADS", ""),
    (RENT, "Rent", "EXPENSE", ""),
    (WAGES, "Wages and Salaries", "EXPENSE", ""),
    (SUPERANNUATION, "Superannuation", "EXPENSE", ""),
    ("485", "Subscriptions", "EXPENSE", ""),
    ("489", "Telephone & Internet", "EXPENSE", ""),
    (CURRENCY_GAINS, "Bank Revaluations", "EXPENSE", "BANKCURRENCYGAIN"),
    ("498", "Unrealised Currency Gains", "EXPENSE", "UNREALISEDCURRENCYGAIN"),
    ("499", "Realised Currency Gains", "EXPENSE", "REALISEDCURRENCYGAIN"),
    ("610", "Accounts Receivable", "CURRENT", "DEBTORS"),
    ("640", "Term Deposit", "CURRENT", ""),
    ("710", "Office Equipment", "FIXED", ""),
    ("711", "Less Accumulated Depreciation on Office Equipment", "FIXED", ""),
    ("800", "Accounts Payable", "CURRLIAB", "CREDITORS"),
    ("820", "GST", "CURRLIAB", "GST"),
    ("960", "Retained Earnings", "EQUITY", "RETAINEDEARNINGS"),
)


@dataclass(frozen=True, slots=True)
class MockAccount:
    id: str
    code: str
    name: str
    type: str
    account_class: str
    system: str
    archived: bool

    @property
    def is_income(self) -> bool:
        return self.type in TRADING_INCOME | OTHER_INCOME

    @property
    def is_profit_and_loss(self) -> bool:
        return self.account_class in {"REVENUE", "EXPENSE"}


@lru_cache(maxsize=64)
def get_chart(organisation: MockOrganisation) -> dict[str, MockAccount]:
    """The organisation's accounts by code."""
    chart = {}
    for code, name, kind, mark in _ACCOUNTS:
        account_id = derive_uuid(organisation.tenant_id, "account", code)
        archived = mark == "ARCHIVED"
        system = "" if archived else mark
        chart[code] = MockAccount(account_id, code, name, kind, CLASSES[kind], system, archived)
    return chart


def get_foreign_bank_currency(organisation: MockOrganisation) -> str:
    return "EUR" if organisation.base_currency == "USD" else "USD"


def get_tax_percent(organisation: MockOrganisation) -> int:
    return TAX_PERCENT.get(organisation.country, 10)


def extract_tax(gross: int, percent: int) -> int:
    """The tax contained in a gross amount, in cents, rounded half away from zero."""
    return _divide_rounded(gross * percent, 100 + percent)


def calculate_tax(net: int, percent: int) -> int:
    """The tax on top of a net amount, in cents, rounded half away from zero."""
    return _divide_rounded(net * percent, 100)


def _divide_rounded(numerator: int, denominator: int) -> int:
    """The quotient, rounded half away from zero as Xero rounds."""
    half = (2 * abs(numerator) + denominator) // (2 * denominator)
    return half if numerator >= 0 else -half
