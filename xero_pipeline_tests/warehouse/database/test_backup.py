"""Backups: of a database in use, for their owner only, and restored as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from xero_pipeline.warehouse.database.backup import BackupRefused, back_up, restore
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.migrating import latest_revision, require_current
from xero_pipeline_tests.conftest import skip_or_fail
from xero_pipeline_tests.migrated import empty_postgres, make_tables

CURSORS = (
    "INSERT INTO sync_cursors (tenant_id, name, value, updated_at) VALUES ('t', :name, 'v', '2026-11-24 01:00:00+00')"
)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    if database_url.startswith("postgres") and shutil.which("pg_dump") is None:
        skip_or_fail("pg_dump is not installed")
    engine = open_engine(database_url)
    make_tables(engine)
    write(engine, "one", "two")
    yield engine
    engine.dispose()


def write(engine: Engine, *names: str) -> None:
    with engine.begin() as connection:
        for name in names:
            connection.execute(text(CURSORS), {"name": name})


def read(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT name FROM sync_cursors")).scalars())


def empty(engine: Engine, database_url: str) -> Engine:
    """A database of the same kind that has no tables."""
    if engine.dialect.name == "postgresql":
        engine.dispose()
        empty_postgres(database_url)
        return open_engine(database_url)
    return open_engine(database_url.replace("warehouse.db", "another.db"))


def is_private(path: Path) -> bool:
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


def test_a_backup_is_restored_into_an_empty_database(engine: Engine, database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "books.backup"
    old_umask = os.umask(0)
    try:
        written = back_up(engine, file)
        other = empty(engine, database_url)
        restored = restore(other, file)
    finally:
        os.umask(old_umask)
    assert (written.revision, written.size) == (latest_revision(), file.stat().st_size)
    assert restored.is_current
    require_current(other)
    assert read(other) == {"one", "two"}
    # The sequences go on, and views came along.
    with other.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM weekly_summary")).scalar_one() == 0
    assert is_private(file)
    if other.dialect.name == "sqlite":
        assert is_private(Path(str(other.url.database)))
    assert [path.name for path in tmp_path.iterdir() if ".new" in path.name] == []
    other.dispose()


def test_a_backup_replaces_what_a_database_holds_only_when_told_to(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "books.backup"
    back_up(engine, file)
    write(engine, "three")
    engine.dispose()
    with pytest.raises(BackupRefused, match=r"has rows \(sync_cursors\).*add --replace"):
        restore(engine, file)
    assert read(engine) == {"one", "two", "three"}
    engine.dispose()
    restore(engine, file, replace=True)
    assert read(engine) == {"one", "two"}
    write(engine, "four")


def test_a_backup_of_a_database_in_use_is_of_one_moment(engine: Engine, database_url: str, tmp_path: Path) -> None:
    """Each transaction writes two rows. A backup has both or none."""
    ended = threading.Event()

    def keep_writing() -> None:
        number = 0
        while not ended.is_set():
            write(engine, f"a{number}", f"b{number}")
            number += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        back_up(engine, tmp_path / "books.backup")
    finally:
        ended.set()
        writer.join()
    other = empty(engine, database_url)
    restore(other, tmp_path / "books.backup")
    names = read(other)
    assert {name[1:] for name in names if name[0] == "a"} == {name[1:] for name in names if name[0] == "b"}
    other.dispose()


def test_a_database_in_use_is_not_restored(engine: Engine, database_url: str, tmp_path: Path) -> None:
    back_up(engine, tmp_path / "books.backup")
    engine.dispose()
    another = open_engine(database_url)
    with another.connect() as idle:
        idle.execute(text("SELECT 1 FROM sync_cursors")).all()
        idle.rollback()
        with pytest.raises(BackupRefused, match=r"in use.* and was not changed\. Stop every process"):
            restore(engine, tmp_path / "books.backup", replace=True)
    another.dispose()
    engine.dispose()
    assert read(engine) == {"one", "two"}
    engine.dispose()
    restore(engine, tmp_path / "books.backup", replace=True)


def test_a_backup_of_a_newer_schema_is_refused(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE xero_pipeline_alembic_version SET version_num = '9999'"))
    back_up(engine, tmp_path / "newer.backup")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xero_pipeline_alembic_version SET version_num = :known"), {"known": latest_revision()}
        )
    engine.dispose()
    with pytest.raises(BackupRefused, match="at schema 9999, which this version of xero-pipeline does not know"):
        restore(engine, tmp_path / "newer.backup", replace=True)
    assert read(engine) == {"one", "two"}


def test_a_backup_that_fails_half_way_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "books.backup"
    back_up(engine, file)
    content = bytearray(file.read_bytes())
    if engine.dialect.name == "sqlite":
        # Its pages in the middle are overwritten.
        content[8192:20_480] = b"\xff" * 12_288
    else:
        del content[-300:]
    file.chmod(0o600)
    file.write_bytes(content)
    engine.dispose()
    with pytest.raises(BackupRefused):
        restore(engine, file, replace=True)
    assert read(engine) == {"one", "two"}


def test_what_is_no_backup_is_refused(engine: Engine, tmp_path: Path) -> None:
    text_file, other_kind, foreign = tmp_path / "notes.txt", tmp_path / "other.backup", tmp_path / "foreign.db"
    text_file.write_text("not a backup")
    with pytest.raises(BackupRefused, match=r"notes.txt is no backup of `xero-pipeline backup`"):
        restore(engine, text_file, replace=True)
    with pytest.raises(BackupRefused, match="missing cannot be read: No such file"):
        restore(engine, tmp_path / "missing", replace=True)
    if engine.dialect.name == "sqlite":
        other_kind.write_bytes(b"PGDMP and more")
    else:
        other_kind.write_bytes(b"SQLite format 3\x00 and more")
    with pytest.raises(BackupRefused, match=r"is the backup of an? \w+ database, and DATABASE_URL names an? \w+ one"):
        restore(engine, other_kind, replace=True)
    if engine.dialect.name == "sqlite":
        with contextlib.closing(sqlite3.connect(foreign)) as connection:
            connection.execute("CREATE TABLE somebody (elses TEXT)")
        with pytest.raises(BackupRefused, match="has none of its tables"):
            restore(engine, foreign, replace=True)
        with pytest.raises(BackupRefused, match=r"a database in use or a copy of one|is the database itself"):
            restore(engine, Path(str(engine.url.database)), replace=True)


def test_a_backup_overwrites_no_file_and_needs_a_folder(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "books.backup"
    file.write_text("something else")
    with pytest.raises(BackupRefused, match="exists already, and a backup never overwrites"):
        back_up(engine, file)
    assert file.read_text() == "something else"
    with pytest.raises(BackupRefused, match="cannot be written: No such file or directory"):
        back_up(engine, tmp_path / "no-folder" / "books.backup")


def test_an_empty_database_is_not_backed_up(database_url: str, tmp_path: Path) -> None:
    engine = open_engine(database_url)
    with pytest.raises(BackupRefused, match="no tables yet"):
        back_up(engine, tmp_path / "books.backup")
    engine.dispose()
    assert not (tmp_path / "books.backup").exists()


def test_an_older_backup_is_not_mixed_with_a_newer_schema_in_postgres(postgres_url: str, tmp_path: Path) -> None:
    engine = open_engine(postgres_url)
    make_tables(engine)
    write(engine, "one")
    with engine.begin() as connection:
        connection.execute(text("UPDATE xero_pipeline_alembic_version SET version_num = '0003'"))
    back_up(engine, tmp_path / "older.backup")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xero_pipeline_alembic_version SET version_num = :known"), {"known": latest_revision()}
        )
    with pytest.raises(BackupRefused, match="Make an empty database"):
        restore(engine, tmp_path / "older.backup", replace=True)
    assert read(engine) == {"one"}
    engine.dispose()


def test_rights_and_the_deployers_views_survive_a_restore_in_postgres(postgres_url: str, tmp_path: Path) -> None:
    engine = open_engine(postgres_url)
    make_tables(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW my_dashboard AS SELECT name FROM sync_cursors"))
        connection.execute(text("GRANT SELECT ON sync_cursors TO PUBLIC"))
    write(engine, "one")
    back_up(engine, tmp_path / "books.backup")
    write(engine, "two")
    engine.dispose()
    restore(engine, tmp_path / "books.backup", replace=True)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM my_dashboard")).scalars().all() == ["one"]
        rights = text("SELECT relacl::text FROM pg_class WHERE relname = 'sync_cursors'")
        assert "=r/" in connection.execute(rights).scalar_one()
    engine.dispose()


_SPY = """#!{python}
import os, sys
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv) + "\\n")
os.execv({real!r}, [{real!r}, *sys.argv[1:]])
"""


def test_the_password_is_in_no_command(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log, tools = tmp_path / "commands.log", tmp_path / "tools"
    tools.mkdir()
    for tool in ("pg_dump", "pg_restore", "psql"):
        real = shutil.which(tool)
        if real is None:
            skip_or_fail(f"{tool} is not installed")
        (tools / tool).write_text(_SPY.format(python=sys.executable, log=str(log), real=real))
        (tools / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    engine = open_engine(postgres_url)
    make_tables(engine)
    engine.dispose()
    # The server of the tests trusts its own machine, whatever the password.
    guarded = open_engine(engine.url.set(password="the-password-of-the-database"))
    write(guarded, "one")
    back_up(guarded, tmp_path / "books.backup")
    guarded.dispose()
    restore(guarded, tmp_path / "books.backup", replace=True)
    guarded.dispose()
    commands = log.read_text()
    assert {line.split()[0].rpartition("/")[2] for line in commands.splitlines()} == {"pg_dump", "pg_restore", "psql"}
    assert "the-password" not in commands
    assert "the-password" not in "".join(capfd.readouterr())


def test_without_postgres_own_tools_it_is_one_line(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(postgres_url)
    make_tables(engine)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupRefused, match=r"pg_dump is not installed.*postgresql-client"):
        back_up(engine, tmp_path / "books.backup")
    engine.dispose()
    assert list(tmp_path.iterdir()) == []
