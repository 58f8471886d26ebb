"""What the routes of the months answer."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from xero_pipeline.admin.api_models import ApiModel, MoneyText, OrganisationWeekResponse


class MonthAmountsResponse(ApiModel):
    """The sums of a month or of several. null means unknown; 0.00 is a known amount."""

    total_trading_income: MoneyText | None
    cost_of_sales: MoneyText | None
    gross_profit: MoneyText | None
    net_profit: MoneyText | None
    net_revenue: MoneyText | None = Field(description="null until every week with a day in the month has landed.")
    closing_cash: MoneyText | None


class MonthComparisonResponse(ApiModel):
    """A month beside others. The year to date is null where a month of the financial year so far is not stored."""

    month: MonthAmountsResponse
    month_before: MonthAmountsResponse
    last_year: MonthAmountsResponse = Field(description="The same month of last year.")
    year_to_date: MonthAmountsResponse = Field(description="From the start of the organisation's financial year.")
    year_to_date_last_year: MonthAmountsResponse
    financial_year: int | None = Field(description="The calendar year in which the financial year ends.")


class OrganisationMonthResponse(OrganisationWeekResponse):
    """An organisation's month. Its revenue is that of the documents dated in the month."""

    comparison: MonthComparisonResponse


class MonthResponse(ApiModel):
    month_ending: date
    organisations: list[OrganisationMonthResponse] = Field(
        description="Only the organisations with figures for the month."
    )
