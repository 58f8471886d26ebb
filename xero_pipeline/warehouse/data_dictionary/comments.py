"""PostgreSQL's comments on every table, view and column, from the data dictionary.

`migrate` writes them, after the migrations, where they are not as the dictionary says. SQLite has no comments.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from xero_pipeline.warehouse.data_dictionary import INTERNAL, TABLES, VIEWS, describe_table

_FOUND = text(
    """
    SELECT c.relname, a.attname, COALESCE(
        CASE WHEN a.attnum IS NULL THEN obj_description(c.oid, 'pg_class') ELSE col_description(c.oid, a.attnum) END, ''
    )
    FROM pg_class AS c
    LEFT JOIN (
        SELECT attrelid, attnum, attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
        UNION ALL SELECT oid, NULL, NULL FROM pg_class
    ) AS a ON a.attrelid = c.oid
    WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND c.relkind IN ('r', 'v')
    """
)


def write_comments(connection: Connection) -> int:
    """Write the comments that are missing or others than the dictionary's, and return how many they were."""
    if connection.dialect.name != "postgresql":
        return 0
    statements = list(_list_statements(connection))
    for statement in statements:
        connection.exec_driver_sql(statement)
    return len(statements)


def _list_statements(connection: Connection) -> Iterator[str]:
    known = {**TABLES, **VIEWS, **INTERNAL}
    for table, column, found in connection.execute(_FOUND).all():
        if table not in known:
            continue
        doc = describe_table(table)
        wanted = doc.meaning if column is None else doc.columns[column].meaning
        if found != wanted:
            kind = "VIEW" if doc.is_view else "TABLE"
            subject = f'{kind} "{table}"' if column is None else f'COLUMN "{table}"."{column}"'
            literal = wanted.replace("'", "''").replace("%", "%%")
            yield f"COMMENT ON {subject} IS '{literal}'"
