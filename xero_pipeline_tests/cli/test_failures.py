"""What no error of ours foresees, and input that nobody should give: one line, no stack trace, no secret."""

from __future__ import annotations

import logging
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError

from xero_pipeline.cli import connection
from xero_pipeline.dagster_home import hide_statement_values
from xero_pipeline.warehouse.database import engine
from xero_pipeline_tests.cli.conftest import OLD, Folder, one_line


@pytest.mark.parametrize("command", ["connect", "sync"])
def test_a_damaged_file_of_the_mocks_is_named_with_what_to_do(folder: Folder, tmp_path: Path, command: str) -> None:
    file = tmp_path / "data" / "mock-xero.db"
    file.parent.mkdir()
    file.write_text("no database at all, " * 100)
    said = one_line(folder.run(command))
    assert f"{file} cannot be used: file is not a database." in said
    assert "can be deleted" in said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("storage: [", "it is not valid YAML (line 1, column 11)"),
        ("- a", "it is not what Dagster expects"),
        ("nonsense: 1", "its entry nonsense is unknown (at root)"),
        (
            "storage: {sqlite: {base_dir: {env: NOT_SET_HERE}}}",
            "it needs the environment variable NOT_SET_HERE, which is not set",
        ),
        ("run_storage: {module: nowhere, class: X, config: {}}", "nowhere, which it names, cannot be found"),
        (
            "storage: {postgres: {postgres_db: {hostname: localhost, username: u, db_name: d, password: 31415926}}}",
            "its entry at root:storage:postgres:postgres_db:password is not what Dagster expects",
        ),
    ],
)
def test_a_broken_dagster_yaml_is_named_with_what_is_wrong_in_it(
    folder: Folder, tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "dagster.yaml").write_text(content)
    said = one_line(folder.run("status"))
    file = tmp_path / "dagster.yaml"
    assert f"{file} cannot be used: {says}. Correct it, or the variables in `.env` that it names" in said
    assert "31415926" not in said


def test_a_damaged_file_of_dagsters_is_one_line(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "data" / "dagster" / "schedules" / "schedules.db"
    file.parent.mkdir(parents=True)
    file.write_text("no database at all, " * 100)
    said = one_line(folder.run("status"))
    assert "Dagster's own storage cannot be opened (file is not a database). Check data/dagster" in said


def test_a_folder_that_cannot_be_made_is_one_line(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    assert f"({tmp_path / 'data'})" in one_line(folder.run("status"))


@pytest.mark.parametrize("state", ["/proc/nope", "{0}/file/mock.db"])
def test_a_mock_that_cannot_remember_is_one_line(folder: Folder, tmp_path: Path, state: str) -> None:
    (tmp_path / "file").write_text("")
    state = state.format(tmp_path)
    said = one_line(folder.run("mock-xero", "--port", "0", "--state", state))
    assert f"The mock Xero's file {state} cannot be used" in said


@pytest.mark.parametrize(("command", "name"), [("admin", "The admin page"), ("mock-xero", "The mock Xero")])
def test_a_taken_port_is_one_line(folder: Folder, command: str, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = one_line(folder.run(command, "--port", port))
    assert f"{name} cannot listen on 127.0.0.1, port {port}: Address already in use" in said
    assert "Choose another with --host or --port" in said


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b"])
def test_a_host_that_is_none_is_one_line(folder: Folder, host: str) -> None:
    assert f"cannot listen on {host}" in one_line(folder.run("mock-xero", "--host", host))


def test_postgresql_without_its_driver_names_what_to_install(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    said = one_line(folder.run("status", DATABASE_URL="postgresql+psycopg://xero:s3cret@127.0.0.1/xero"))
    assert 'pip install "xero-pipeline[postgres]"' in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "arguments",
    [["sync", "--weeks", "99999999999"], ["sync", "--weeks", "5271"], ["logs", "--limit", "99999999999999999999"]],
)
def test_a_number_that_there_can_never_be_is_wrong_usage(folder: Folder, arguments: list[str]) -> None:
    refused = folder.run(*arguments)
    assert (refused.exit_code, "is not in the range" in refused.stderr) == (2, True)


def test_the_calendars_last_day_is_no_week(folder: Folder) -> None:
    folder.run("connect")
    assert "9999-12-31 is a Friday" in one_line(folder.run("sync", "--week-ending", "9999-12-31"))
    assert folder.run("restatements", "--since", "9999-12-31").stdout == "nothing was restated\n"


def test_a_table_that_somebody_dropped_is_one_line(folder: Folder) -> None:
    with folder.warehouse(OLD) as opened, opened.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE xero_sync_logs")
    assert "no such table: xero_sync_logs" in one_line(folder.run("logs"))


def test_a_sync_of_a_locked_database_file_says_so(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0.1)
    folder.run("connect")
    with folder.warehouse(OLD) as opened, opened.engine.begin():
        said = one_line(folder.run("sync"))
    assert "The database file " in said
    assert "cannot be used: database is locked. Check DATABASE_URL" in said


def test_a_sync_as_a_user_who_may_only_read_says_so(folder: Folder, postgres_url: str) -> None:
    assert folder.run("migrate", DATABASE_URL=postgres_url).exit_code == 0
    assert folder.run("connect", DATABASE_URL=postgres_url).exit_code == 0
    read_only = f"{postgres_url}?options=-c%20default_transaction_read_only%3Don"
    said = one_line(folder.run("sync", DATABASE_URL=read_only))
    assert "PostgreSQL at " in said
    assert "in a read-only transaction. Ask its administrator" in said


def test_a_sync_whose_log_refuses_every_row_names_the_error_and_none_of_its_text(folder: Folder) -> None:
    folder.run("connect")
    with folder.warehouse(OLD) as opened, opened.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON xero_sync_logs BEGIN SELECT raise(ABORT, 'secret words'); END"
        )
    said = one_line(folder.run("sync"))
    assert "The sync failed: IntegrityError in the step " in said
    assert "secret words" not in said


def test_a_defect_is_one_line_that_says_where_and_the_log_has_its_stack_but_not_its_text(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        try:
            raise KeyError("secret-of-somebody")
        except KeyError as error:
            raise ZeroDivisionError("secret-of-somebody") from error

    monkeypatch.setattr(connection, "read_deployment_status", broken)
    with caplog.at_level(logging.INFO, "xero_pipeline.cli"):
        result = folder.run("--verbose", "status")
    said = one_line(result)
    assert "(ZeroDivisionError in connection.py, line " in said
    assert "--verbose" in said
    told = caplog.messages[-1]
    assert "ZeroDivisionError, from:" in told
    assert "KeyError, from:" in told
    assert "in broken" in told
    assert "secret-of-somebody" not in result.output + said


@contextmanager
def fill_disk(part: str) -> Iterator[None]:
    """Let no SQLite file whose path has `part` grow, as on a full disk."""

    def limit(connection: object, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
            if part in file:
                connection.execute("PRAGMA max_page_count = 1")

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


@contextmanager
def fill_disk_at_event(number: int) -> Iterator[None]:
    """Let the disk be full from an event of the run on, counted from its start, so that Dagster cannot store it."""
    count = 0

    def execute(_cursor: object, statement: str, parameters: object, _context: object) -> None:
        nonlocal count
        if statement.startswith("INSERT INTO event_logs"):
            count += bool(count) or "PIPELINE_START" in str(parameters)
            if count > number:
                raise sqlite3.OperationalError("database or disk is full")

    event.listen(Engine, "do_execute", execute)
    try:
        yield
    finally:
        event.remove(Engine, "do_execute", execute)


@pytest.mark.parametrize("number", [0, 1, 6, 8, 10])
def test_a_disk_that_is_full_for_dagsters_events_is_one_line_without_their_texts(folder: Folder, number: int) -> None:
    assert folder.run("connect").exit_code == 0
    with fill_disk_at_event(number):
        result = folder.run("sync", "--weeks", "3")
    said = one_line(result)
    assert result.stderr.splitlines() == [said]
    assert "database or disk is full" in said
    assert "INSERT" not in result.output
    assert folder.run("sync", "--weeks", "1").exit_code == 0


def test_a_disk_that_is_full_for_dagsters_files_is_one_line(folder: Folder) -> None:
    assert folder.run("connect").exit_code == 0
    assert folder.run("sync").exit_code == 0
    with fill_disk("/dagster/"):
        result = folder.run("sync", "--weeks", "3")
    said = one_line(result)
    assert result.stderr.splitlines() == [said]
    assert "database or disk is full" in said


def test_a_disk_that_is_full_for_the_figures_is_one_line(folder: Folder, tmp_path: Path) -> None:
    assert folder.run("connect").exit_code == 0
    with fill_disk("/xero.db"):
        result = folder.run("sync", "--weeks", "3")
    said = one_line(result)
    assert result.stderr.splitlines() == [said]
    assert f"The database file {tmp_path / 'xero.db'} cannot be used: database or disk is full" in said


def test_an_error_of_dagsters_storage_never_shows_the_values_of_its_statement(tmp_path: Path) -> None:
    hide_statement_values()
    engine = create_engine(f"sqlite:///{tmp_path / 'runs.db'}")
    with engine.connect() as connection, pytest.raises(OperationalError) as raised:
        connection.execute(text("INSERT INTO event_logs VALUES (:event)"), {"event": "figure 1,234.56"})
    assert "1,234.56" not in str(raised.value)
    assert "INSERT INTO event_logs" in str(raised.value)
    engine.dispose()
