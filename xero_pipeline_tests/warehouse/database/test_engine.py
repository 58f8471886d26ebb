"""Opening a database: its settings, who may read the file, and the errors when it cannot be used."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from xero_pipeline.warehouse.database.engine import get_sqlite_file, open_engine
from xero_pipeline.warehouse.database.migrating import migrate
from xero_pipeline.warehouse.errors import DatabaseUnavailable


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Engine:
    # The pool needs no disposing here, since it keeps no connection open.
    return open_engine(f"sqlite:///{tmp_path}/new/folder/xero.db")


def read_mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_only_the_owner_can_read_a_new_sqlite_file_and_its_companions(sqlite_engine: Engine) -> None:
    file = get_sqlite_file(sqlite_engine)
    assert file is not None
    assert not file.parent.exists(), "opening an engine creates nothing yet"
    with sqlite_engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
        assert {file_found.name: read_mode(file_found) for file_found in file.parent.iterdir()} == {
            "xero.db": 0o600,
            "xero.db-wal": 0o600,
            "xero.db-shm": 0o600,
        }


def test_sqlite_runs_in_wal_mode_with_foreign_keys(sqlite_engine: Engine) -> None:
    with sqlite_engine.connect() as connection:
        values = [connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("journal_mode", "foreign_keys")]
        assert [*values, connection.execute(text("PRAGMA busy_timeout")).scalar_one()] == ["wal", 1, 30_000]


def test_a_file_created_elsewhere_is_switched_to_wal_mode(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(file)) as plain:
        plain.execute("CREATE TABLE t (x INTEGER)")
    with open_engine(f"sqlite:///{file}").connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"


def test_begin_takes_the_write_lock_at_once_and_a_reader_neither_takes_nor_waits_for_it(
    sqlite_engine: Engine,
) -> None:
    with sqlite_engine.begin() as writer:
        writer.execute(text("CREATE TABLE t (x INTEGER)"))
    with contextlib.closing(sqlite3.connect(get_sqlite_file(sqlite_engine), timeout=0, isolation_level=None)) as other:
        with sqlite_engine.connect() as reader:
            assert reader.execute(text("SELECT count(*) FROM t")).scalar_one() == 0
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO t VALUES (1)")
            other.execute("COMMIT")
            assert reader.execute(text("SELECT count(*) FROM t")).scalar_one() == 0, "one snapshot"
        with sqlite_engine.begin() as writer:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            writer.execute(text("INSERT INTO t VALUES (2)"))
            with sqlite_engine.connect() as reader:
                assert reader.execute(text("SELECT count(*) FROM t")).scalar_one() == 1


def test_a_failed_transaction_leaves_nothing_in_either_database(database_url: str) -> None:
    engine = open_engine(database_url)

    def fail_halfway() -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE t (x INTEGER)"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    engine.dispose()


def test_threads_that_read_and_then_write_lose_no_update(database_url: str) -> None:
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (0)"))
    barrier = threading.Barrier(4)

    def count_up() -> None:
        barrier.wait()
        for _ in range(10):
            with engine.begin() as connection:
                seen = connection.execute(
                    text("SELECT x FROM t FOR UPDATE" if server else "SELECT x FROM t")
                ).scalar_one()
                connection.execute(text("UPDATE t SET x = :x"), {"x": seen + 1})

    server = engine.dialect.name == "postgresql"
    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT x FROM t")).scalar_one() == 40
    engine.dispose()


def test_no_error_shows_the_values_of_a_statement(database_url: str) -> None:
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x VARCHAR(40) CHECK (x <> 'forbidden'), y VARCHAR(40))"))
    with pytest.raises((IntegrityError, DBAPIError)) as caught, engine.begin() as connection:
        connection.execute(
            text("INSERT INTO t VALUES (:x, :y)"), [{"x": "fine", "y": "s3cret"}, {"x": "forbidden", "y": ""}]
        )
    assert "s3cret" not in str(caught.value)
    engine.dispose()


def test_postgresql_uses_utc_and_read_committed(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with engine.connect() as connection:
        values = [
            connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("timezone", "transaction_isolation")
        ]
        assert values == ["UTC", "read committed"]
    engine.dispose()


def test_server_and_client_notice_within_a_minute_that_the_others_machine_is_gone(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    with engine.connect() as connection:
        of_server = [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]
        of_client = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    engine.dispose()
    assert of_server == ["30", "10", "3", "60000"]
    expected = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
    assert of_client.items() >= (expected | {"tcp_user_timeout": "60000"}).items()


def test_a_server_that_writes_dates_in_another_style_is_read_all_the_same(postgres_url: str) -> None:
    engine, database = open_engine(postgres_url), make_url(postgres_url).database
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {database} SET DateStyle = 'German, DMY'"))
        connection.execute(text(f"ALTER DATABASE {database} SET TimeZone = 'Australia/Sydney'"))
    engine.dispose()
    try:
        migrate(engine)
        with engine.connect() as connection:
            moment, day = connection.execute(text("SELECT timestamptz '2026-11-24 01:00+00', DATE '2026-11-21'")).one()
        assert (moment, day) == (datetime(2026, 11, 24, 1, tzinfo=UTC), date(2026, 11, 21))
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"ALTER DATABASE {database} RESET DateStyle"))
            connection.execute(text(f"ALTER DATABASE {database} RESET TimeZone"))
        engine.dispose()


def read_refusal(url: str) -> str:
    engine = open_engine(url)
    with pytest.raises(DatabaseUnavailable) as caught, engine.connect():
        pass
    engine.dispose()
    return str(caught.value)


def test_a_missing_server_gives_one_clear_line_without_the_password() -> None:
    message = read_refusal("postgresql+psycopg://someone:s3cret@127.0.0.1:1/books")
    assert message == (
        "PostgreSQL at 127.0.0.1:1 cannot be used: nothing listens there. Check DATABASE_URL, and that the server runs."
    )


def test_a_password_with_an_at_sign_is_not_shown_with_the_host() -> None:
    message = read_refusal("postgresql+psycopg://someone:Sup3r@S3cret@127.0.0.1:1/books")
    assert "S3cret" not in message
    assert message.startswith("PostgreSQL at 127.0.0.1:1 cannot be used")


def test_the_error_names_a_missing_database(postgres_url: str) -> None:
    url = make_url(postgres_url).set(database="no_such_database")
    assert 'database "no_such_database" does not exist' in read_refusal(url.render_as_string(hide_password=False))


def test_the_error_says_that_the_user_may_create_nothing(postgres_url: str) -> None:
    url = make_url(postgres_url).update_query_dict({"options": "-c default_transaction_read_only=on"})
    engine = open_engine(url)
    with pytest.raises(DatabaseUnavailable, match=r"refuses: cannot execute CREATE TABLE") as caught:
        migrate(engine)
    assert "administrator" in str(caught.value)
    engine.dispose()


def test_the_error_says_that_the_server_cancelled_a_statement(postgres_url: str) -> None:
    engine = open_engine(f"{postgres_url}?options=-c%20statement_timeout%3D50")
    with (
        pytest.raises(DatabaseUnavailable, match=r"gave up: .*statement timeout\. .*try again"),
        engine.begin() as connection,
    ):
        connection.execute(text("SELECT pg_sleep(5)"))
    engine.dispose()


def test_the_error_says_that_the_server_cut_the_connection(postgres_url: str) -> None:
    engine = open_engine(postgres_url, pooled=False)
    with pytest.raises(DatabaseUnavailable, match="cannot be used"), engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    engine.dispose()


def test_a_pooled_connection_that_has_died_is_replaced(postgres_url: str) -> None:
    engine, other = open_engine(postgres_url), open_engine(postgres_url, pooled=False)
    with engine.connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with other.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != pid
    engine.dispose()
    other.dispose()


def test_the_error_says_that_a_file_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear Sir or Madam, " * 100)
    assert read_refusal(f"sqlite:///{file}").startswith(
        f"The database file {file} cannot be used: file is not a database."
    )


def test_a_file_that_cannot_be_created_gives_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = read_refusal(f"sqlite:///{tmp_path}/file/below/xero.db")
    assert message.startswith(f"The database file {tmp_path}/file/below/xero.db cannot be created: Not a directory.")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="must be a file"):
        open_engine(url)


def test_the_error_says_how_to_install_postgresqls_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseUnavailable, match=r'psycopg is not installed.*"xero-pipeline\[postgres\]"') as caught:
        open_engine("postgresql+psycopg://xero:s3cret@127.0.0.1/xero")
    assert "s3cret" not in str(caught.value)
