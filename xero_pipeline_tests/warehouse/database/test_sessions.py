"""A pooler that splits sessions is noticed at the start; one that keeps them whole is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.locks import Locks
from xero_pipeline.warehouse.database.migrating import migrate, require_current
from xero_pipeline.warehouse.errors import DatabaseUnavailable
from xero_pipeline_tests.pgbouncer import run_pgbouncer


@pytest.mark.parametrize("server_round_robin", [0, 1])
@pytest.mark.parametrize("warm", [1, 2, 5])
def test_a_pooler_in_transaction_mode_is_refused_in_one_line(
    postgres_url: str, tmp_path: Path, server_round_robin: int, warm: int
) -> None:
    direct = open_engine(postgres_url)
    migrate(direct)
    direct.dispose()
    options = {"pool_mode": "transaction", "server_round_robin": server_round_robin, "min_pool_size": warm}
    with run_pgbouncer(tmp_path / "pooler", postgres_url, **options) as url:
        engine = open_engine(url)
        # The pooler has some server connections already, as beside other processes.
        held = [engine.connect() for _ in range(warm)]
        for connection in held:
            connection.exec_driver_sql("SELECT 1")
        for connection in held:
            connection.close()
        for use in (migrate, require_current):
            with pytest.raises(DatabaseUnavailable) as caught:
                use(engine)
            assert str(caught.value) == (
                "DATABASE_URL leads through a pooler that splits sessions, such as pgBouncer in transaction mode; the "
                "locks between processes need whole ones. Name the server itself in DATABASE_URL, or set pool_mode = "
                "session for this database."
            )
        engine.dispose()


def test_a_pooler_in_session_mode_is_accepted_and_its_locks_hold(postgres_url: str, tmp_path: Path) -> None:
    with run_pgbouncer(tmp_path / "pooler", postgres_url, pool_mode="session") as url:
        engine = open_engine(url)
        migrate(engine)
        require_current(engine)
        locks = Locks(engine)
        with locks.hold_liveness("run-1"):
            assert locks.is_held("run-1")
        assert not locks.is_held("run-1")
        locks.close()
        engine.dispose()
