-- A week that does not add up in Xero (`partial`) is in the tables with its difference, so this only warns.
{{ config(severity = 'warn') }}
select week.tenant_id, week.week_ending
from {{ source('xero', 'financial_weekly') }} as week
left join {{ ref('xero_profit_and_loss') }} as line
    on week.tenant_id = line.tenant_id and week.week_ending = line.week_ending
group by week.tenant_id, week.week_ending, week.net_profit
having coalesce(sum({{ cents('line.contribution') }}), 0) <> {{ cents('week.net_profit') }}
