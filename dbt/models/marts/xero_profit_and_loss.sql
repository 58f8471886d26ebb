-- The accounts of each week's profit and loss with their sign, so that the contributions of a week sum to its net profit.
with lines as (
    select
        *,
        {{ cents('amount') }} * case
            when category in ('trading_income', 'other_income') then 1
            else -1
        end as contribution_cents
    from {{ source('xero', 'financial_weekly_lines') }}
)

select
    tenant_id,
    week_ending,
    account_id,
    account_code,
    account_name,
    account_type,
    category,
    amount,
    {{ money('contribution_cents') }} as contribution,
    currency,
    data_source
from lines
