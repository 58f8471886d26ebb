"""Explanations and documents in the form of `--json` and of the HTTP API: camelCase, amounts as exact text."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from xero_pipeline.warehouse.figures.document_queries import DocumentChange, SelectedDocument
from xero_pipeline.warehouse.figures.explanation_types import Explanation, HistoryEntry

Json = dict[str, Any]


def explanation_to_dict(explanation: Explanation) -> Json:
    sums = explanation.sums
    return {
        "tenantId": explanation.tenant_id,
        "weekEnding": str(explanation.week),
        "currency": explanation.currency,
        "kind": explanation.kind,
        "name": explanation.name,
        "figure": explanation.figure,
        "amount": str(explanation.amount),
        "share": _text(explanation.share),
        "figures": {name: _plain(value) for name, value in explanation.figures.items()},
        "parts": [
            {"name": part.name, "amount": str(part.amount), "note": part.note, "key": part.key}
            for part in explanation.parts
        ],
        "documentCount": None if sums is None else sums.count,
        "documentsNet": None if sums is None else str(sums.net_revenue),
        "documents": [document_to_dict(document) for document in explanation.documents],
        "weeks": [
            {"weekEnding": str(each.week), "amount": str(each.amount), "share": _text(each.share)}
            for each in explanation.weeks
        ],
        "history": [_history_to_dict(entry) for entry in explanation.history],
        "note": explanation.note,
    }


def document_to_dict(document: SelectedDocument) -> Json:
    return {
        "tenantId": document.tenant_id,
        "documentId": document.document_id,
        "documentType": document.document_type,
        "documentNumber": document.document_number,
        "documentDate": document.document_date.isoformat(),
        "status": document.status,
        "contactId": document.contact_id,
        "contactName": document.contact_name,
        "documentCurrency": document.document_currency,
        "currencyRate": format(document.currency_rate.normalize(), "f"),
        "documentNet": str(document.document_net),
        "net": str(document.net),
        "tax": str(document.tax),
        "adds": str(document.adds),
        "xeroUrl": document.xero_url,
    }


def _history_to_dict(entry: HistoryEntry) -> Json:
    row: Mapping[str, Any] = entry.row
    return {
        "name": row["row_name"],
        "column": row["column_name"],
        "old": row["old_value"],
        "new": row["new_value"],
        "restatedAt": row["restated_at"].isoformat(),
        "dagsterRunId": row["dagster_run_id"],
        "documents": [_change_to_dict(change) for change in entry.documents],
    }


def _change_to_dict(change: DocumentChange) -> Json:
    return {
        "documentId": change.document_id,
        "documentType": change.document_type,
        "documentNumber": change.document_number,
        "contactName": change.contact_name,
        "accountCode": change.account_code,
        "revenueType": change.revenue_type,
        "region": change.region,
        "oldNet": _text(change.old_net),
        "newNet": _text(change.new_net),
        "oldTax": _text(change.old_tax),
        "newTax": _text(change.new_tax),
        "otherWeekEnding": None if change.other_week is None else str(change.other_week),
        "xeroUrl": change.xero_url,
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value
