"""A migrated database for tests that are about something else.

Alembic takes longer for it than many a test. So it does it once for each kind of database; from then on the
same statements are executed again. That migrating itself is right is `warehouse/test_migrating.py`'s matter.
"""

from __future__ import annotations

from sqlalchemy import Engine, event, inspect

from xero_pipeline.warehouse.migrating import migrate

_statements: dict[str, list[str]] = {}


def make_tables(engine: Engine) -> None:
    """Make of a database what `migrate` makes of it."""
    if inspect(engine).get_table_names():
        migrate(engine)
        return
    known = _statements.get(engine.dialect.name)
    if known is None:
        _statements[engine.dialect.name] = _migrate_and_note(engine)
        return
    with engine.begin() as connection:
        for statement in known:
            connection.exec_driver_sql(statement)


def _migrate_and_note(engine: Engine) -> list[str]:
    noted: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.lstrip().upper().startswith(("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")):
            assert not parameters, statement
            noted.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        migrate(engine)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return noted
