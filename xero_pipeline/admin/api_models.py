"""What the HTTP API takes and answers, as models: the OpenAPI document is made from them.

Names are camelCase, dates ISO 8601, amounts exact decimals as text. Not here: where the values come from.
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

Money = Annotated[
    Decimal,
    PlainSerializer(lambda amount: format(to_cents(amount), "f"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$", "examples": ["161101.83"]}),
]
"""An exact amount to the cent, as text: JSON's numbers are binary floats in most readers."""


def _is_iso(value: object) -> object:
    # pydantic would read a bare number as seconds since 1970.
    if isinstance(value, date) or (isinstance(value, str) and len(value) == len("2026-11-21")):
        return value
    raise ValueError("must be a date as YYYY-MM-DD")


Day = Annotated[date, BeforeValidator(_is_iso)]
"""A date as YYYY-MM-DD, and nothing else that could be taken for one."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


# ---- errors ---------------------------------------------------------------------------------------------


class ErrorText(_Model):
    code: str = Field(description="A short stable name, for a program.", examples=["not_connected"])
    message: str = Field(description="What happened and what to do about it, for a person.")


class ErrorAnswer(_Model):
    """Every error looks like this."""

    error: ErrorText


# ---- connection -----------------------------------------------------------------------------------------


class ConnectAnswer(_Model):
    url: str = Field(description="Where to send the person: Xero's consent page, or back to this page.")


class OrganisationAnswer(_Model):
    tenant_id: str
    tenant_name: str
    status: Literal["connected", "reconnect_needed"]
    connected_at: AwareDatetime
    last_sync_at: AwareDatetime | None
    refresh_token_expires_at: AwareDatetime | None = Field(
        description="When the refresh token dies if nobody uses it; null for a Custom Connection."
    )
    calls_today: int
    calls_per_day: int


class StatusAnswer(_Model):
    connected: bool
    tenant_name: str | None
    last_sync_at: AwareDatetime | None
    mock_mode: bool
    scheduler_running: bool | None = Field(description="null: Dagster does not answer.")
    organisations: list[OrganisationAnswer]


class OrganisationStandingAnswer(OrganisationAnswer):
    refresh_token_days_left: int | None
    calls_left_today: int = Field(description="By the stricter of our own count and Xero's.")
    token_error: str | None = Field(description="Why the stored tokens cannot be read; null: all is well.")


class AlertAnswer(_Model):
    kind: str
    title: str
    text: str = Field(description="What happened, and what to do.")
    opened_at: AwareDatetime


class StandingAnswer(StatusAnswer):
    """The status, and what the page shows besides."""

    alerts: list[AlertAnswer] = Field(description="What is not well yet, the oldest first.")
    alert_error: str | None = Field(description="Which alert could not be posted; null: all is well.")
    organisations: list[OrganisationStandingAnswer]  # type: ignore[assignment]


class DisconnectRequest(_Model):
    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    tenant_id: str | SkipJsonSchema[None] = Field(
        None, min_length=1, max_length=200, description="Only this organisation; left out: all of them."
    )

    @field_validator("tenant_id", mode="before")
    @classmethod
    def _not_null(cls, value: object) -> object:
        # A null is somebody's mistake, and must not disconnect everything.
        if value is None:
            raise ValueError("must be a text; leave it out to disconnect all organisations")
        return value


class DisconnectAnswer(_Model):
    success: Literal[True] = True
    warning: str | None = Field(None, description="What did not go as it should all the same.")


# ---- syncing --------------------------------------------------------------------------------------------


class LogAnswer(_Model):
    """One row of the sync log."""

    id: int
    tenant_id: str
    tenant_name: str | None = Field(description="null: the organisation is not connected any more.")
    sync_type: str
    week_ending: date
    status: Literal["running", "success", "partial", "failed"]
    record_count: int
    api_calls: int
    error_log: Any = Field(description="What went wrong, and what to do; null when nothing did.")
    dagster_run_id: str | None
    run_url: str | None = Field(description="The run's page in Dagster.")
    started_at: AwareDatetime
    completed_at: AwareDatetime | None


class RunAnswer(_Model):
    run_id: str
    status: RunStatus
    logs: list[LogAnswer] = Field(description="The run's rows of the sync log so far, newest first.")
    url: str = Field(description="The run's page in Dagster.")


class SyncRequest(_Model):
    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    week_ending: Day | SkipJsonSchema[None] = Field(None, description="A week by its Saturday.")
    wait: bool | SkipJsonSchema[None] = Field(None, description="false: do not wait for the run's end.")


class SchedulerAnswer(_Model):
    running: bool


# ---- figures --------------------------------------------------------------------------------------------


class SummaryWeek(_Model):
    """Sums over the organisations of one currency. null: not known; 0.00: known to be nothing."""

    week_ending: date
    total_trading_income: Money | None
    gross_profit: Money | None
    net_profit: Money | None
    net_revenue: Money | None
    closing_cash: Money | None
    revenue_by_type: dict[str, Money] | None
    organisations: int = Field(description="How many organisations are in these sums.")


class SummaryAnswer(_Model):
    currency: str | None = Field(description="The currency of every amount; null when there are none.")
    currencies: list[str] = Field(description="Every currency that there are figures in, the most used first.")
    weeks: list[SummaryWeek] = Field(description="Oldest first, from the first week that is held, gaps included.")


class ProfitAndLossAnswer(_Model):
    basis: Literal["accrual", "cash"]
    total_trading_income: Money
    cost_of_sales: Money
    gross_profit: Money
    other_income: Money
    operating_expenses: Money
    net_profit: Money


class ProfitAndLossLineAnswer(_Model):
    account_id: str
    account_code: str | None
    account_name: str
    account_type: str | None
    category: Literal["trading_income", "cost_of_sales", "other_income", "operating_expenses"]
    amount: Money


class RevenueCellAnswer(_Model):
    revenue_type: str
    region: str
    invoiced: Money
    credited: Money
    net_revenue: Money
    tax: Money
    invoice_count: int
    credit_note_count: int


class BankAccountAnswer(_Model):
    bank_account_id: str
    bank_account_name: str
    opening_balance: Money
    cash_received: Money
    cash_spent: Money
    currency_gain: Money
    closing_balance: Money


class RestatementAnswer(_Model):
    """A figure of a closed week that a later sync changed. `old` null: new; `new` null: gone."""

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


class OrganisationWeek(_Model):
    tenant_id: str
    tenant_name: str | None
    currency: str
    data_source: Literal["xero_api", "xero_mock"]
    updated_at: AwareDatetime
    profit_and_loss: ProfitAndLossAnswer | None
    lines: list[ProfitAndLossLineAnswer]
    revenue: list[RevenueCellAnswer]
    cash: list[BankAccountAnswer]
    restatements: list[RestatementAnswer]


class WeekAnswer(_Model):
    week_ending: date
    organisations: list[OrganisationWeek] = Field(description="Only those of which anything is held.")


# ---- health ---------------------------------------------------------------------------------------------


class HealthAnswer(_Model):
    """`ok`, or why it does not answer."""

    database: str
    dagster: str


class UnhealthyAnswer(HealthAnswer):
    error: ErrorText
