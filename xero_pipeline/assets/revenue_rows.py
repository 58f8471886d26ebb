"""Makes the rows of `revenue_documents` and `revenue_document_lines` from what was read of the documents.

Xero's links: "Deep link to Xero" of its documentation, with the organisation's `ShortCode`. The page of an invoice has
a newer address than that guide shows; Xero's own MCP server makes it so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

from xero_pipeline.warehouse.figures.revenue_documents import (
    CREDIT_NOTE,
    INVOICE,
    RevenueDocument,
    RevenueDocumentLine,
)
from xero_pipeline.xero.readers.revenue import DocumentRevenue

_XERO = "https://go.xero.com"


def build_revenue_documents(
    documents: Iterable[DocumentRevenue], short_code: str | None, *, keep_contact_names: bool
) -> Iterator[RevenueDocument]:
    """Yield the documents that count, one after the other.

    Args:
        short_code: the organisation's in Xero; without it, no document has a link.
    """
    for document in documents:
        heading = document.heading
        if not document.counts or heading is None:
            continue
        yield RevenueDocument(
            key=document.key,
            document_type=CREDIT_NOTE if document.is_credit else INVOICE,
            number=heading.number,
            day=document.day,
            status=heading.status,
            contact_id=heading.contact_id,
            contact_name=heading.contact_name if keep_contact_names else None,
            currency=heading.currency,
            rate=heading.rate,
            xero_url=build_xero_url(short_code, document.key, is_credit=document.is_credit),
            lines=[
                RevenueDocumentLine(
                    line.number,
                    line.account_code,
                    line.item_code,
                    *line.cell,
                    net=line.net,
                    tax=line.tax,
                    document_net=line.document_net,
                )
                for line in document.lines
            ],
        )


def build_xero_url(short_code: str | None, document_id: str, *, is_credit: bool) -> str | None:
    """Build the address of a document in Xero; `None` without the organisation's short code."""
    if not short_code:
        return None
    code, key = quote(short_code, safe="!"), quote(document_id, safe="")
    if is_credit:
        page = f"/AccountsReceivable/ViewCreditNote.aspx?creditNoteID={key}"
        return f"{_XERO}/organisationlogin/default.aspx?shortcode={code}&redirecturl={page}"
    return f"{_XERO}/app/{code}/invoicing/view/{key}"
