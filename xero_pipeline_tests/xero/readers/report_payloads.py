"""Reports as Xero writes them, built row by row. No test is here."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.weeks import Week
from xero_pipeline.xero.readers.accounts import Account

SAMPLES = Path(__file__).parents[2] / "samples"
WEEK = Week(date(2026, 11, 21))

Json = dict[str, Any]


def sample(name: str) -> Any:
    """A real payload, read as the client reads it."""
    return json.loads((SAMPLES / f"{name}.json").read_text(), parse_float=Decimal)


def report(*rows: Json, title: str = "15 November 2026 to 21 November 2026", header: bool = True) -> Json:
    head = [{"RowType": "Header", "Cells": [{"Value": ""}, {"Value": "21 Nov 26"}]}] if header else []
    return {"Reports": [{"ReportTitles": ["Profit & Loss", "Example", title], "Rows": [*head, *rows]}]}


def section(title: str | None, *rows: Json) -> Json:
    return {"RowType": "Section", "Rows": list(rows)} | ({} if title is None else {"Title": title})


def detail(account_id: str, amount: object, name: str | None = None, attribute: str = "account") -> Json:
    attributes = [{"Value": account_id, "Id": attribute}]
    return {
        "RowType": "Row",
        "Cells": [
            {"Value": name or account_id, "Attributes": attributes},
            {"Value": amount, "Attributes": attributes},
        ],
    }


def total(label: str, amount: object) -> Json:
    return {"RowType": "SummaryRow", "Cells": [{"Value": label}, {"Value": amount}]}


def plain(label: str, amount: object) -> Json:
    """A row without an account, as profit lines are."""
    return {"RowType": "Row", "Cells": [{"Value": label}, {"Value": amount}]}


def line(label: str, amount: object) -> Json:
    return section("", plain(label, amount))


def chart(**types: str) -> dict[str, Account]:
    """A chart of accounts by id and type; `id="TYPE:CLASS"` where the class matters."""
    accounts = {}
    for number, (account_id, kind) in enumerate(types.items(), start=200):
        type_, _, class_ = kind.partition(":")
        account = Account(account_id, str(number), account_id.title(), type_, class_ or None)
        accounts[normalise_id(account_id)] = account
    return accounts
