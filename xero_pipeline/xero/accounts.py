"""What Xero says of an organisation and of its chart of accounts: JSON in, plain objects out, no I/O.

Not here: what an account's type means in a profit and loss (`profit_and_loss.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xero_pipeline.xero.errors import PayloadNotUnderstood


@dataclass(frozen=True, slots=True)
class Account:
    """One account of `GET Accounts`. Type, class, status and system account are in capitals, as Xero has them.

    `code` is `None` where there is none (bank accounts often have none), and so is `class_`.
    """

    account_id: str
    code: str | None
    name: str
    type: str
    class_: str | None
    status: str
    system_account: str | None


@dataclass(frozen=True, slots=True)
class OrganisationDetails:
    """What `GET Organisation` says. `base_currency` is a three-letter code; an empty text: Xero does not say."""

    name: str
    base_currency: str
    country: str
    timezone: str
    organisation_id: str
    short_code: str


def read_accounts(payload: Mapping[str, Any]) -> dict[str, Account]:
    """The chart of accounts, by AccountID in lower case: ids are compared without regard to case.

    Raises:
        PayloadNotUnderstood: it is no list of accounts, or one lacks its id, or an id is there twice.
    """
    accounts: dict[str, Account] = {}
    for number, row in enumerate(_rows(payload, "Accounts"), start=1):
        account = _read_account(row, f"account {number} of Xero's Accounts")
        key = account.account_id.lower()
        if accounts.setdefault(key, account) != account:
            raise PayloadNotUnderstood(f"Xero's Accounts hold two accounts with the id {key[:40]}.")
    return accounts


def _read_account(row: Mapping[str, Any], spot: str) -> Account:
    account_id = _text(row, "AccountID", spot)
    if not account_id:
        raise PayloadNotUnderstood(f"The {spot} has no AccountID.")
    return Account(
        account_id=account_id,
        code=_text(row, "Code", spot) or None,
        name=_text(row, "Name", spot),
        type=_text(row, "Type", spot).upper(),
        class_=_text(row, "Class", spot).upper() or None,
        status=_text(row, "Status", spot).upper() or "ACTIVE",
        system_account=_text(row, "SystemAccount", spot).upper() or None,
    )


def read_organisation(payload: Mapping[str, Any]) -> OrganisationDetails:
    """The organisation behind a tenant id.

    Raises:
        PayloadNotUnderstood: it is not exactly one organisation, or it has no base currency.
    """
    rows = _rows(payload, "Organisations")
    if len(rows) != 1:
        raise PayloadNotUnderstood(f"Xero answered {len(rows)} organisations where there is one.")
    row, spot = rows[0], "organisation"
    currency = _text(row, "BaseCurrency", spot).upper()
    if len(currency) != 3 or not currency.isalpha():
        raise PayloadNotUnderstood("The organisation's BaseCurrency is no three-letter code.")
    return OrganisationDetails(
        name=_text(row, "Name", spot) or _text(row, "LegalName", spot),
        base_currency=currency,
        country=_text(row, "CountryCode", spot).upper(),
        timezone=_text(row, "Timezone", spot),
        organisation_id=_text(row, "OrganisationID", spot),
        short_code=_text(row, "ShortCode", spot),
    )


def _rows(payload: Mapping[str, Any], container: str) -> list[Mapping[str, Any]]:
    rows = payload.get(container) if isinstance(payload, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise PayloadNotUnderstood(f"Xero's answer has no list of {container}.")
    return rows


def _text(row: Mapping[str, Any], field: str, spot: str) -> str:
    """A field's text, trimmed; an empty one where it is absent. A code may come as a number."""
    value = row.get(field)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise PayloadNotUnderstood(f"The {field} of the {spot} is no text.")
    return str(value).strip()
