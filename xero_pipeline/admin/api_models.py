"""The request and response models of the HTTP API; FastAPI builds the OpenAPI document from them.

Names are camelCase, dates ISO 8601, amounts exact decimals as text. The routes fill in the values.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

from xero_pipeline.admin.dagster_api import RunStatus
from xero_pipeline.money import to_cents

MoneyText = Annotated[
    Decimal,
    PlainSerializer(lambda amount: format(to_cents(amount), "f"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$", "examples": ["161101.83"]}),
]
"""An exact amount to the cent, as text: most JSON readers turn numbers into binary floats."""


def _require_iso_date(value: object) -> object:
    # Pydantic would read a bare number as seconds since 1970.
    if isinstance(value, date) or (isinstance(value, str) and len(value) == len("2026-11-21")):
        return value
    raise ValueError("must be a date as YYYY-MM-DD")


IsoDate = Annotated[date, BeforeValidator(_require_iso_date)]
"""A date as YYYY-MM-DD. Numbers and date-times are refused."""


class ApiModel(BaseModel):
    """What every model has: names in camelCase outside, in snake_case inside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ApiRequest(ApiModel):
    """A request's body. An unknown name in it is refused, since it may be a misspelt one."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)


# ---- errors ---------------------------------------------------------------------------------------------


class ErrorText(ApiModel):
    code: str = Field(description="A short, stable name for programs to check.", examples=["not_connected"])
    message: str = Field(description="What happened and what to do about it, for people.")


class ErrorResponse(ApiModel):
    """The body of every error response."""

    error: ErrorText


# ---- connection -----------------------------------------------------------------------------------------


class ConnectResponse(ApiModel):
    url: str = Field(description="Where to send the browser: Xero's consent page, or back to this page.")


class OrganisationResponse(ApiModel):
    tenant_id: str
    tenant_name: str
    status: Literal["connected", "reconnect_needed"]
    connected_at: AwareDatetime
    last_sync_at: AwareDatetime | None
    refresh_token_expires_at: AwareDatetime | None = Field(
        description="When the refresh token expires if it is not used; null for a Custom Connection."
    )
    calls_today: int
    calls_per_day: int


class StatusResponse(ApiModel):
    connected: bool
    tenant_name: str | None
    last_sync_at: AwareDatetime | None
    mock_mode: bool
    scheduler_running: bool | None = Field(description="null when Dagster does not answer.")
    organisations: list[OrganisationResponse]


class ProofResponse(ApiModel):
    """How far an organisation's stored weeks are proven against Xero's own totals."""

    proven_up_to: date | None = Field(description="Up to this week every block is equal; null when none is.")
    last_checked_at: AwareDatetime
    differing_blocks: int = Field(description="How many comparisons differed at their last look.")


class DetailedOrganisationResponse(OrganisationResponse):
    display_name: str = Field(description="The name, with the tenant id where two organisations have the same one.")
    refresh_token_days_left: int | None
    calls_left_today: int = Field(description="The lower of our own count and Xero's.")
    token_error: str | None = Field(description="Why the stored tokens cannot be read; null when they can.")
    reconciliation: ProofResponse | None = Field(description="null when nothing has been compared yet.")


class AlertResponse(ApiModel):
    kind: str
    title: str
    text: str = Field(description="What happened, and what to do.")
    opened_at: AwareDatetime


class DetailedStatusResponse(StatusResponse):
    """The status with the further details that the page shows."""

    alerts: list[AlertResponse] = Field(description="The open alerts, oldest first.")
    alert_error: str | None = Field(description="Which alert could not be delivered; null when none failed.")
    organisations: list[DetailedOrganisationResponse]  # type: ignore[assignment]


class DisconnectRequest(ApiRequest):
    tenant_id: str | SkipJsonSchema[None] = Field(
        None, min_length=1, max_length=200, description="Only this organisation; leave it out for all of them."
    )

    @field_validator("tenant_id", mode="before")
    @classmethod
    def _reject_null(cls, value: object) -> object:
        # A null is probably a mistake, so it must not disconnect everything.
        if value is None:
            raise ValueError("must be a text; leave it out to disconnect all organisations")
        return value


class DisconnectResponse(ApiModel):
    success: Literal[True] = True
    warning: str | None = Field(None, description="What went wrong although the disconnect succeeded.")


# ---- syncing --------------------------------------------------------------------------------------------


class AcceptRequest(ApiRequest):
    note: str = Field("", max_length=500, description="Why the figures are right as they are.")


class AcceptanceResponse(ApiModel):
    by: str
    note: str | None
    at: AwareDatetime


class LogResponse(ApiModel):
    """One row of the sync log."""

    id: int
    tenant_id: str
    tenant_name: str | None = Field(description="null when the organisation is no longer connected.")
    sync_type: str
    week_ending: date
    status: Literal["running", "success", "partial", "failed"]
    record_count: int
    api_calls: int
    error_log: Any = Field(description="What went wrong, and what to do; null when nothing went wrong.")
    dagster_run_id: str | None
    run_url: str | None = Field(description="The run's page in Dagster.")
    started_at: AwareDatetime
    completed_at: AwareDatetime | None
    accepted: AcceptanceResponse | None = Field(
        description="Who accepted that a partial week does not add up; null while one of its differences is open."
    )


class FigureDifferenceResponse(ApiModel):
    """One figure of a block that differs. The amounts are exact texts; for documents they are counts."""

    account_id: str
    account_name: str
    figure: str
    stated: str
    held: str
    difference: str


class ReconciliationResponse(ApiModel):
    """One comparison of a block of weeks with Xero's own totals."""

    tenant_id: str
    tenant_name: str | None = Field(description="null when the organisation is no longer connected.")
    kind: Literal["profit_and_loss", "bank_summary", "documents"]
    first_week: date
    last_week: date
    status: Literal["equal", "mended", "differs"]
    stated: str | None = Field(description="Xero's net profit, sum of closing balances, or number of documents.")
    held: str | None = Field(description="The same from the tables.")
    difference: str | None
    figures: list[FigureDifferenceResponse] = Field(description="Every figure that differs.")
    weeks_read_again: int
    api_calls: int
    dagster_run_id: str | None
    checked_at: AwareDatetime


class RunResponse(ApiModel):
    run_id: str
    status: RunStatus
    logs: list[LogResponse] = Field(description="The run's rows of the sync log so far, newest first.")
    url: str = Field(description="The run's page in Dagster.")


class SyncRequest(ApiRequest):
    week_ending: IsoDate | SkipJsonSchema[None] = Field(None, description="A week by its Saturday.")
    wait: bool | SkipJsonSchema[None] = Field(None, description="false to answer without waiting for the run to end.")


class SchedulerResponse(ApiModel):
    running: bool


# ---- figures --------------------------------------------------------------------------------------------


class SummaryWeekResponse(ApiModel):
    """Sums over the organisations of one currency. null means unknown; 0.00 is a known amount."""

    week_ending: date
    total_trading_income: MoneyText | None
    gross_profit: MoneyText | None
    net_profit: MoneyText | None
    net_revenue: MoneyText | None
    closing_cash: MoneyText | None
    revenue_by_type: dict[str, MoneyText] | None
    organisations: int = Field(description="The number of organisations in these sums.")


class SummaryResponse(ApiModel):
    currency: str | None = Field(description="The currency of every amount; null when there are none.")
    currencies: list[str] = Field(description="Every currency that has figures, the most used first.")
    weeks: list[SummaryWeekResponse] = Field(
        description="Oldest first, from the first week that is held, gaps included."
    )


class ProfitAndLossResponse(ApiModel):
    basis: Literal["accrual", "cash"]
    total_trading_income: MoneyText
    cost_of_sales: MoneyText
    gross_profit: MoneyText
    other_income: MoneyText
    operating_expenses: MoneyText
    net_profit: MoneyText


class ProfitAndLossLineResponse(ApiModel):
    account_id: str
    account_code: str | None
    account_name: str
    account_type: str | None
    category: Literal["trading_income", "cost_of_sales", "other_income", "operating_expenses"]
    amount: MoneyText


class RevenueCellResponse(ApiModel):
    revenue_type: str
    region: str
    invoiced: MoneyText
    credited: MoneyText
    net_revenue: MoneyText
    tax: MoneyText
    invoice_count: int
    credit_note_count: int


class BankAccountResponse(ApiModel):
    bank_account_id: str
    bank_account_name: str
    opening_balance: MoneyText
    cash_received: MoneyText
    cash_spent: MoneyText
    currency_gain: MoneyText
    closing_balance: MoneyText


class RestatementResponse(ApiModel):
    """A figure of a closed week that a later sync changed. `old` is null for a new row, `new` for a removed one."""

    tenant_id: str
    tenant_name: str | None
    week_ending: date
    table: str
    key: str
    name: str
    column: str
    old: str | None
    new: str | None
    restated_at: AwareDatetime
    dagster_run_id: str | None
    run_url: str | None


class OrganisationWeekResponse(ApiModel):
    tenant_id: str
    tenant_name: str | None
    currency: str
    data_source: Literal["xero_api", "xero_mock"]
    updated_at: AwareDatetime
    profit_and_loss: ProfitAndLossResponse | None
    lines: list[ProfitAndLossLineResponse]
    revenue: list[RevenueCellResponse]
    cash: list[BankAccountResponse]
    restatements: list[RestatementResponse]


class WeekResponse(ApiModel):
    week_ending: date
    organisations: list[OrganisationWeekResponse] = Field(
        description="Only the organisations with figures for the week."
    )


# ---- health ---------------------------------------------------------------------------------------------


class HealthResponse(ApiModel):
    """For each part `ok`, or the code of the error."""

    database: str
    dagster: str


class UnhealthyResponse(HealthResponse):
    error: ErrorText
