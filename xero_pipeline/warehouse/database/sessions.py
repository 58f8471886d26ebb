"""Finding out whether PostgreSQL is reached through a pooler that spreads one session over several connections.

The locks between processes (`locks.py`) belong to a session of the server. Behind such a pooler (pgBouncer in the mode
`transaction` or `statement`) a lock is taken in one session and freed in another. It then stays taken, and the next
sync waits for it without an end.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from xero_pipeline.warehouse.errors import DatabaseUnavailable

# A pooler that gives out its connections in turn shows another one by then, unless other clients use all but one.
_QUESTIONS = 3


def require_own_sessions(engine: Engine) -> None:
    """Check that each connection is one session of the server, and that no two share one.

    With SQLite there is nothing to check.

    Raises:
        DatabaseUnavailable: a pooler splits sessions, or the server cannot be reached.
    """
    if engine.dialect.name != "postgresql":
        return
    if _are_sessions_split(engine):
        raise DatabaseUnavailable(
            "DATABASE_URL leads through a pooler that splits sessions, such as pgBouncer in transaction mode; the "
            "locks between processes need whole ones.",
            advice="Name the server itself in DATABASE_URL, or set pool_mode = session for this database.",
        )


def _are_sessions_split(engine: Engine) -> bool:
    try:
        with engine.connect() as one, engine.connect() as other:
            first, second = _list_server_processes(one), _list_server_processes(other)
    except DBAPIError:
        # Any user may ask this of any server. Only a pooler makes it fail: the driver prepares a statement that it
        # often sends, and then meets a server connection on which nobody has, or another client.
        return True
    # Two open sessions have two server processes. A pooler lends both the same one, since neither is in a
    # transaction, or it lends each question another one.
    return bool(first & second) or len(first) > 1 or len(second) > 1


def _list_server_processes(connection: Connection) -> set[tuple[object, ...]]:
    autocommitted = connection.execution_options(isolation_level="AUTOCOMMIT")
    # The time tells servers apart: DATABASE_URL may name several, and their numbers of processes may coincide.
    question = text("SELECT pg_backend_pid(), pg_postmaster_start_time()")
    return {tuple(autocommitted.execute(question).one()) for _ in range(_QUESTIONS)}
