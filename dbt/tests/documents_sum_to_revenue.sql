-- The lines of a week's documents sum to its revenue. Weeks of versions that stored no documents are left out.
with lines as (
    select
        line.tenant_id,
        line.week_ending,
        sum({{ cents('line.net') }} * case when document.document_type = 'credit_note' then -1 else 1 end) as cents
    from {{ source('xero', 'revenue_document_lines') }} as line
    inner join {{ source('xero', 'revenue_documents') }} as document
        on line.tenant_id = document.tenant_id
        and line.week_ending = document.week_ending
        and line.document_id = document.document_id
    group by line.tenant_id, line.week_ending
),

weeks as (
    select tenant_id, week_ending, sum({{ cents('net_revenue') }}) as cents
    from {{ source('xero', 'revenue_weekly') }}
    group by tenant_id, week_ending
)

select weeks.tenant_id, weeks.week_ending
from weeks
inner join lines on weeks.tenant_id = lines.tenant_id and weeks.week_ending = lines.week_ending
where weeks.cents <> lines.cents
