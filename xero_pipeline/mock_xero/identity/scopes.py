"""Xero's scopes, and which of them each endpoint needs.

Source: Xero's "OAuth 2.0 scopes", with the granular ones of March 2026.
"""

from __future__ import annotations

_IDENTITY = {"openid", "profile", "email", "offline_access"}
_READ_AND_WRITE = (
    "accounting.settings",
    "accounting.transactions",
    "accounting.contacts",
    "accounting.attachments",
    "accounting.invoices",
    "accounting.payments",
    "accounting.banktransactions",
    "accounting.manualjournals",
    "assets",
    "files",
    "projects",
)
_READ_ONLY = (
    "accounting.reports.read",
    "accounting.journals.read",
    "accounting.budgets.read",
    *(
        f"accounting.reports.{report}.read"
        for report in (
            "aged",
            "balancesheet",
            "banksummary",
            "budgetsummary",
            "executivesummary",
            "profitandloss",
            "taxreports",
            "tenninetynine",
            "trialbalance",
        )
    ),
)

SCOPES = frozenset({*_IDENTITY, *_READ_AND_WRITE, *(f"{name}.read" for name in _READ_AND_WRITE), *_READ_ONLY})

# A Custom Connection may not request these, since it has no user.
USER_SCOPES = frozenset(_IDENTITY)

_SETTINGS = frozenset({"accounting.settings", "accounting.settings.read"})
_DOCUMENTS = frozenset(
    {
        "accounting.invoices",
        "accounting.invoices.read",
        "accounting.transactions",
        "accounting.transactions.read",
    }
)

ENDPOINT_SCOPES = {
    "organisation": _SETTINGS,
    "accounts": _SETTINGS,
    "currencies": _SETTINGS,
    "trackingcategories": _SETTINGS,
    "invoices": _DOCUMENTS,
    "creditnotes": _DOCUMENTS,
    "reports/profitandloss": frozenset({"accounting.reports.profitandloss.read", "accounting.reports.read"}),
    "reports/banksummary": frozenset({"accounting.reports.banksummary.read", "accounting.reports.read"}),
}
"""For each endpoint, in lower case, the scopes of which any one is enough."""

SCOPE_DESCRIPTIONS = {
    "offline_access": "Stay connected while you are away",
    "openid": "Know who you are",
    "profile": "See your name",
    "email": "See your email address",
    "accounting.settings.read": "View your organisation settings and chart of accounts",
    "accounting.invoices.read": "View your invoices and credit notes",
    "accounting.transactions.read": "View your invoices, credit notes and transactions",
    "accounting.reports.read": "View your reports",
    "accounting.reports.profitandloss.read": "View your profit and loss report",
    "accounting.reports.banksummary.read": "View your bank summary report",
}
