-- One row a week: the summary, and what changed against the organisation's row before it.
with weeks as (
    select
        tenant_id,
        week_ending,
        {{ cents('total_trading_income') }} as income_cents,
        {{ cents('net_profit') }} as net_profit_cents,
        {{ cents('net_revenue') }} as net_revenue_cents,
        {{ cents('closing_cash') }} as cash_cents,
        currency,
        data_source
    from {{ source('xero', 'weekly_summary') }}
),

compared as (
    select
        *,
        income_cents - lag(income_cents) over (partition by tenant_id order by week_ending) as income_change_cents,
        net_profit_cents - lag(net_profit_cents) over (partition by tenant_id order by week_ending) as profit_change_cents,
        cash_cents - lag(cash_cents) over (partition by tenant_id order by week_ending) as cash_change_cents
    from weeks
)

select
    tenant_id,
    week_ending,
    {{ money('income_cents') }} as income,
    {{ money('net_profit_cents') }} as net_profit,
    {{ money('net_revenue_cents') }} as net_revenue,
    {{ money('cash_cents') }} as closing_cash,
    {{ money('income_change_cents') }} as income_change,
    {{ money('profit_change_cents') }} as net_profit_change,
    {{ money('cash_change_cents') }} as closing_cash_change,
    currency,
    data_source
from compared
