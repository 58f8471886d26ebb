"""Reads the chart of accounts and the organisation's details. Pure: JSON in, values out.

Sources: Xero's `GET Accounts` and `GET Organisation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.xero.errors import PayloadNotUnderstood


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `code` may be missing (bank accounts), and so may `class_`."""

    account_id: str
    code: str | None
    name: str
    type: str
    class_: str | None = None


@dataclass(frozen=True, slots=True)
class OrganisationDetails:
    name: str
    base_currency: str
    organisation_id: str | None = None
    """Xero's `OrganisationID`, which is also the organisation's tenant id."""
    short_code: str | None = None
    """The organisation in links into Xero, such as `!23vYl`."""


def read_accounts(payload: Mapping[str, Any]) -> dict[str, Account]:
    """Read every account, keyed by its id as `normalise_id` spells it.

    Raises:
        PayloadNotUnderstood: there is no list, or a row has no id or no type.
    """
    rows = payload.get("Accounts")
    if not isinstance(rows, list):
        raise PayloadNotUnderstood("Xero's chart of accounts has no list of Accounts.")
    accounts = {}
    for row in rows:
        if not isinstance(row, dict) or not row.get("AccountID") or not row.get("Type"):
            raise PayloadNotUnderstood("Xero's chart of accounts has a row without AccountID or Type.")
        account_id = normalise_id(str(row["AccountID"]))
        accounts[account_id] = Account(
            account_id=account_id,
            code=_read_text(row, "Code"),
            name=_read_text(row, "Name") or account_id,
            type=str(row["Type"]).strip().upper(),
            class_=(_read_text(row, "Class") or "").upper() or None,
        )
    return accounts


_KEPT_OF_ACCOUNT = ("AccountID", "Code", "Name", "Type", "Class")
_KEPT_OF_ORGANISATION = (
    "Name", "BaseCurrency", "OrganisationID", "CountryCode", "ShortCode", "Timezone",
    "FinancialYearEndDay", "FinancialYearEndMonth",
)  # fmt: skip


def keep_accounts(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the answer that figures depend on, in its own shape.

    Raises:
        PayloadNotUnderstood: as `read_accounts`.
    """
    read_accounts(payload)
    return {"Accounts": [_keep_fields(row, _KEPT_OF_ACCOUNT) for row in payload["Accounts"]]}


def keep_organisation(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the answer that figures depend on, in its own shape.

    Raises:
        PayloadNotUnderstood: as `read_organisation`.
    """
    read_organisation(payload)
    return {"Organisations": [_keep_fields(row, _KEPT_OF_ORGANISATION) for row in payload["Organisations"]]}


def _keep_fields(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    # Numbers become texts, since JSON in a database has no exact decimals.
    return {
        name: row[name] if isinstance(row[name], str) else str(row[name]) for name in names if row.get(name) is not None
    }


def read_organisation(payload: Mapping[str, Any]) -> OrganisationDetails:
    """Read the one organisation of the answer.

    Raises:
        PayloadNotUnderstood: there is not exactly one organisation, or it has no base currency.
    """
    rows = payload.get("Organisations")
    if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], dict):
        raise PayloadNotUnderstood("Xero's answer does not describe exactly one organisation.")
    currency = _read_text(rows[0], "BaseCurrency")
    if not currency:
        raise PayloadNotUnderstood("Xero's description of the organisation has no BaseCurrency.")
    return OrganisationDetails(
        name=_read_text(rows[0], "Name") or "",
        base_currency=currency.upper(),
        organisation_id=_read_text(rows[0], "OrganisationID"),
        short_code=_read_text(rows[0], "ShortCode"),
    )


def _read_text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return str(value).strip() or None if value is not None else None
