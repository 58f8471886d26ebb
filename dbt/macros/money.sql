{#- Exact money on both databases. SQLite stores an amount as text with two decimals, and its SUM of texts is a binary
    float. So sums are made of whole cents: `money(sum_of_cents)` has the type of the pipeline's own columns, which is
    NUMERIC(18, 2) in PostgreSQL and text in SQLite. -#}

{% macro cents(column) %}{{ return(adapter.dispatch('cents', 'xero_pipeline')(column)) }}{% endmacro %}

{% macro default__cents(column) %}cast({{ column }} * 100 as bigint){% endmacro %}

{% macro sqlite__cents(column) %}cast(replace({{ column }}, '.', '') as integer){% endmacro %}


{% macro money(cents) %}{{ return(adapter.dispatch('money', 'xero_pipeline')(cents)) }}{% endmacro %}

{% macro default__money(cents) %}cast(({{ cents }}) / 100.0 as numeric(18, 2)){% endmacro %}

{% macro sqlite__money(cents) %}(case when ({{ cents }}) < 0 then '-' else '' end
    || (abs({{ cents }}) / 100) || '.' || substr('0' || (abs({{ cents }}) % 100), -2)){% endmacro %}


{% macro month_start(day) %}{{ return(adapter.dispatch('month_start', 'xero_pipeline')(day)) }}{% endmacro %}

{% macro default__month_start(day) %}cast(date_trunc('month', {{ day }}) as date){% endmacro %}

{% macro sqlite__month_start(day) %}strftime('%Y-%m-01', {{ day }}){% endmacro %}
