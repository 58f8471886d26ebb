"""The models of explanations and documents in the HTTP API. `explanations.py` fills them in."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import AwareDatetime, Field

from xero_pipeline.admin.api_models import ApiModel, MoneyText


class DocumentResponse(ApiModel):
    """An invoice or credit note, with what its lines in the figure add up to; a credit note's amounts are positive."""

    tenant_id: str
    document_id: str
    document_type: Literal["invoice", "credit_note"]
    document_number: str | None
    document_date: date
    status: str
    contact_id: str | None
    contact_name: str | None = Field(description="null with KEEP_CONTACT_NAMES=false.")
    document_currency: str
    currency_rate: str
    document_net: MoneyText = Field(description="Without tax, in the document's currency.")
    net: MoneyText = Field(description="Without tax, in base currency.")
    tax: MoneyText
    adds: MoneyText = Field(description="What it adds to net revenue: for a credit note, net with a minus.")
    xero_url: str | None


class DocumentsResponse(ApiModel):
    week_ending: date
    currency: str | None = Field(description="The currency of every sum; null when there is no revenue.")
    currencies: list[str] = Field(description="Every base currency with revenue of the week, the most used first.")
    count: int = Field(description="Invoices and credit notes, of which `documents` lists at most `limit`.")
    invoice_count: int
    credit_note_count: int
    invoiced: MoneyText
    credited: MoneyText
    net_revenue: MoneyText
    tax: MoneyText
    complete: bool = Field(
        description="false until the week's invoices of every organisation, of whatever currency, have landed with "
        "their documents: sync the week."
    )
    documents: list[DocumentResponse]


class PartResponse(ApiModel):
    name: str
    amount: MoneyText
    note: str | None
    key: str | None = Field(description="The figure that explains this part: a total's column or an account's id.")


class WeekAmountResponse(ApiModel):
    week_ending: date
    amount: MoneyText
    share: str | None = Field(description="Percent of the total that the account counts for.")


class DocumentChangeResponse(ApiModel):
    """What a document added before and after. `oldNet` is null for one that came, `newNet` for one that left."""

    document_id: str
    document_type: Literal["invoice", "credit_note"]
    document_number: str | None
    contact_name: str | None
    account_code: str | None
    revenue_type: str
    region: str
    old_net: MoneyText | None
    new_net: MoneyText | None
    old_tax: MoneyText | None
    new_tax: MoneyText | None
    other_week_ending: date | None = Field(description="The week that it came from or went to.")
    xero_url: str | None


class HistoryResponse(ApiModel):
    """One restatement of the figure, or of another figure of the same row."""

    name: str
    column: str
    old: str | None
    new: str | None
    restated_at: AwareDatetime
    dagster_run_id: str | None
    run_url: str | None
    documents: list[DocumentChangeResponse]


class ExplanationResponse(ApiModel):
    """What a figure is made of: `parts` add up to `amount`."""

    tenant_id: str
    tenant_name: str | None
    week_ending: date
    currency: str
    kind: Literal["total", "account", "revenue", "bank"]
    name: str
    figure: str
    amount: MoneyText
    share: str | None
    figures: dict[str, str | int]
    parts: list[PartResponse]
    document_count: int | None = Field(description="null where documents do not matter or are not stored.")
    documents_net: MoneyText | None
    documents: list[DocumentResponse]
    weeks: list[WeekAmountResponse] = Field(description="The same figure in up to 13 weeks, oldest first.")
    history: list[HistoryResponse] = Field(description="Newest first.")
    note: str | None
