-- Revenue by calendar month, from the documents' lines: weeks do not add up to months, but days do.
with lines as (
    select
        line.tenant_id,
        {{ month_start('document.document_date') }} as month_start,
        line.revenue_type,
        line.region,
        document.document_type,
        line.document_id,
        {{ cents('line.net') }} as net_cents,
        {{ cents('line.tax') }} as tax_cents,
        line.currency,
        line.data_source
    from {{ source('xero', 'revenue_document_lines') }} as line
    inner join {{ source('xero', 'revenue_documents') }} as document
        on line.tenant_id = document.tenant_id
        and line.week_ending = document.week_ending
        and line.document_id = document.document_id
),

summed as (
    select
        tenant_id,
        month_start,
        revenue_type,
        region,
        sum(case when document_type = 'invoice' then net_cents else 0 end) as invoiced_cents,
        sum(case when document_type = 'credit_note' then net_cents else 0 end) as credited_cents,
        sum(case when document_type = 'invoice' then tax_cents else -tax_cents end) as tax_cents,
        count(distinct document_id) as documents,
        currency,
        data_source
    from lines
    group by tenant_id, month_start, revenue_type, region, currency, data_source
)

select
    tenant_id,
    month_start,
    revenue_type,
    region,
    {{ money('invoiced_cents') }} as invoiced,
    {{ money('credited_cents') }} as credited,
    {{ money('invoiced_cents - credited_cents') }} as net_revenue,
    {{ money('tax_cents') }} as tax,
    documents,
    currency,
    data_source
from summed
