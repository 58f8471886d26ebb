{#- A generic test: no two rows share these columns. -#}
{% test one_row_each(model, columns) %}
select {{ columns | join(', ') }}, count(*) as how_many
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
