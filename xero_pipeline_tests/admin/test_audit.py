"""The audit log of the page: who did what; guesses are counted, and nothing secret is in the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from xero_pipeline.audit import GUESSES_REPORTED, GUESSING_CAUSE, AuditTrail
from xero_pipeline.warehouse.access.audit_log import Actor, AuditAction, AuditRow
from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline.warehouse.errors import DatabaseUnavailable
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.admin.deployed import API, Page, serve_page
from xero_pipeline_tests.admin.test_callback import begin_consent, finish_consent, serve_with_xero
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables

TOKEN = "the-admin-token-7c1f"
FROM = "127.0.0.1"


@pytest.fixture
def closed(tmp_path: Path, migrated: Path) -> Iterator[Page]:
    with serve_page(tmp_path, template=migrated, ADMIN_TOKEN=TOKEN) as page:
        yield page


def read_rows(page: Page) -> list[AuditRow]:
    """The rows, oldest first."""
    return page.deployment.warehouse.audit.list_newest(1000)[::-1]


def test_twelve_actions_of_three_persons_are_twelve_right_rows_without_a_secret(tmp_path: Path, migrated: Path) -> None:
    routes = {"revocation": {}, "connection-t-1": {}}
    with serve_with_xero(tmp_path, migrated, routes, ADMIN_TOKEN=TOKEN) as (page, _):
        persons = page.deployment.warehouse.persons
        tokens = {
            name: persons.add(name, role, now=page.clock.now()) or ""
            for name, role in (("Vera", AccessRole.VIEWER), ("Otto", AccessRole.OPERATOR), ("Olga", AccessRole.OWNER))
        }
        with page.browser() as viewer, page.browser() as operator, page.browser() as owner:
            for browser, name in ((viewer, "Vera"), (operator, "Otto"), (owner, "Olga")):
                browser.post("/login", data={"token": tokens[name]})
                page.clock.advance(seconds=1)
            state = begin_consent(owner)["state"]
            finish_consent(owner, state=state, code="the-code-itself")
            viewer.post(f"{API}/sync")
            operator.post(f"{API}/sync")
            operator.post(f"{API}/scheduler/start")
            operator.post(f"{API}/disconnect")
            new = owner.post(f"{API}/access/add", json={"name": "Ned", "role": "viewer"}).json()["token"]
            owner.post(f"{API}/disconnect")
            viewer.post("/logout")
            operator.post("/logout")
        rows = read_rows(page)
        assert [(row.who, row.role, row.origin, row.action, row.subject, row.outcome) for row in rows] == [
            ("Vera", "viewer", FROM, "sign_in", "", "success"),
            ("Otto", "operator", FROM, "sign_in", "", "success"),
            ("Olga", "owner", FROM, "sign_in", "", "success"),
            ("Olga", "owner", FROM, "connect", "Alpha, Beta", "success"),
            ("Vera", "viewer", FROM, "sync", "", "refused"),
            ("Otto", "operator", FROM, "sync", "week ending 2026-11-21, run run-1", "success"),
            ("Otto", "operator", FROM, "start_scheduler", "", "success"),
            ("Otto", "operator", FROM, "disconnect", "", "refused"),
            ("Olga", "owner", FROM, "add_access", "Ned, viewer", "success"),
            ("Olga", "owner", FROM, "disconnect", "Alpha, Beta", "success"),
            ("Vera", "viewer", FROM, "sign_out", "", "success"),
            ("Otto", "operator", FROM, "sign_out", "", "success"),
        ]
        with page.deployment.warehouse.engine.connect() as connection:
            tables = ("audit_log", "access_tokens", "admin_sessions", "oauth_states", "alerts")
            whole = repr([connection.execute(text(f"SELECT * FROM {name}")).all() for name in tables])
        secrets = [*tokens.values(), TOKEN, new, state, "the-code-itself", "access-token-from", "refresh-token-from"]
        assert [secret for secret in secrets if secret in whole] == []


def test_failed_actions_are_recorded_with_the_code_of_the_error(page: Page) -> None:
    page.post(f"{API}/sync")
    page.dagster.down = True
    page.post(f"{API}/scheduler/start")
    page.post(f"{API}/disconnect", json={"tenantId": "t-none"})
    assert [(row.who, row.action, row.outcome) for row in read_rows(page)] == [
        ("local", "sync", "not_connected"),
        ("local", "start_scheduler", "dagster_down"),
        ("local", "disconnect", "unknown_organisation"),
    ]


def test_the_log_is_answered_newest_first(closed: Page) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for action in ("start", "stop"):
        closed.post(f"{API}/scheduler/{action}", headers=bearer)
        closed.clock.advance(minutes=1)
    rows = closed.api("/audit", headers=bearer).json()
    assert [row["action"] for row in rows] == ["stop_scheduler", "start_scheduler"]
    assert rows[0] == {
        "id": 2,
        "at": "2026-11-24T01:01:00Z",
        "who": "admin",
        "role": "owner",
        "origin": FROM,
        "action": "stop_scheduler",
        "subject": "",
        "outcome": "success",
        "count": 1,
        "lastAt": "2026-11-24T01:01:00Z",
    }
    assert len(closed.api("/audit?limit=1", headers=bearer).json()) == 1


# ---- guessing ------------------------------------------------------------------------------------------------


def test_guesses_are_counted_and_alerted(closed: Page) -> None:
    for number in range(60):
        closed.post("/login", data={"token": f"guess-{number}"})
        closed.api("/status", headers={"Authorization": f"Bearer guess-{number}"})
    closed.api("/audit", headers={"Authorization": "Bearer guess-last"})
    closed.clock.advance(minutes=20)
    rows = closed.api("/audit", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    counts = {(row["who"], row["action"], row["outcome"]): row["count"] for row in rows}
    assert set(counts) == {("unknown", "sign_in", "wrong_token"), ("unknown", "sign_in", "throttled")}
    assert sum(counts.values()) == 121
    alert = AlertLog(closed.deployment.warehouse.engine).get(GUESSING_CAUSE)
    assert alert is not None
    assert (alert.is_open, alert.occurrences) == (True, 1)
    assert "guess-" not in repr(alert) + repr(rows)
    shown = closed.api("/standing", headers={"Authorization": f"Bearer {TOKEN}"}).json()["alerts"]
    assert [one["kind"] for one in shown] == ["guessing"]


def test_a_few_mistyped_tokens_alert_nobody(closed: Page) -> None:
    for _ in range(4):
        closed.post("/login", data={"token": "mistyped"})
    assert AlertLog(closed.deployment.warehouse.engine).list_open() == []


def test_many_guesses_from_many_addresses_are_a_bounded_number_of_rows(warehouse_of_two: Warehouse) -> None:
    trail = AuditTrail(warehouse_of_two)
    for number in range(200):
        trail.record_guess(f"198.51.100.{number}", throttled=number % 2 == 0)
    trail.store_guesses()
    rows = warehouse_of_two.audit.list_newest(1000)
    assert len(rows) <= 42
    assert sum(row.count for row in rows) == 200
    assert "other addresses" in {row.origin for row in rows}


@pytest.fixture
def warehouse_of_two(database_url: str, clock: FakeClock) -> Iterator[Warehouse]:
    warehouse = Warehouse.open(database_url, [bytes(32)], clock)
    make_tables(warehouse.engine)
    yield warehouse
    warehouse.close()


def test_a_flood_of_guesses_is_few_writes(sqlite_warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    record = sqlite_warehouse.audit.record

    def count_writes(*arguments: Any, **named: Any) -> None:
        writes.append(1)
        record(*arguments, **named)

    monkeypatch.setattr(sqlite_warehouse.audit, "record", count_writes)
    trail = AuditTrail(sqlite_warehouse)
    for _ in range(1000):
        trail.record_guess("198.51.100.7", throttled=True)
    trail.store_guesses()
    assert len(writes) < 15
    [row] = sqlite_warehouse.audit.list_newest(10)
    assert row.count == 1000


@pytest.mark.parametrize(("error", "outcome"), [(ValueError("real"), "failed"), (KeyboardInterrupt(), "failed")])
def test_an_action_that_ends_with_an_error_is_no_success(
    sqlite_warehouse: Warehouse, error: BaseException, outcome: str
) -> None:
    trail, actor = AuditTrail(sqlite_warehouse), Actor("Olga", "owner", "cli")
    with pytest.raises(type(error)), trail.recording(actor, AuditAction.DISCONNECT, "Demo"):
        raise error
    [row] = sqlite_warehouse.audit.list_newest(10)
    assert row.outcome == outcome
    with sqlite_warehouse.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alerts")).scalar_one() == 0


def test_an_error_is_shown_although_it_cannot_be_recorded(
    sqlite_warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("The disk is full.")

    monkeypatch.setattr(sqlite_warehouse.audit, "record", refuse)
    actor = Actor("Olga", "owner", "cli")
    with pytest.raises(ValueError, match="real"), AuditTrail(sqlite_warehouse).recording(actor, AuditAction.SYNC):
        raise ValueError("real")


def test_callbacks_that_nobody_began_name_nobody_and_are_counted(closed: Page) -> None:
    for number in range(30):
        closed.api("/callback", params={"state": f"made-up-{number}", "code": "c"})
    [row] = read_rows(closed)
    assert (row.who, row.action, row.outcome, row.count) == ("unknown", "connect", "state_unknown", 30)


def test_a_consent_that_another_browser_finishes_is_not_put_down_to_who_began_it(
    tmp_path: Path, migrated: Path
) -> None:
    with serve_with_xero(tmp_path, migrated, {}) as (page, _), page.browser() as thief:
        state = begin_consent(page.client)["state"]
        finish_consent(thief, state=state, code="c")
        [row] = read_rows(page)
        assert (row.who, row.outcome) == ("unknown", "other_browser")


# ---- alerts of connections ------------------------------------------------------------------------------------


def test_a_connection_and_a_disconnect_store_an_alert_that_no_status_lists(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, {"revocation": {}}) as (page, _):
        finish_consent(page.client, state=begin_consent(page.client)["state"], code="c")
        page.clock.advance(minutes=1)
        page.post(f"{API}/disconnect")
        alerts = AlertLog(page.deployment.warehouse.engine).list_open()
        assert [(alert.kind, alert.title) for alert in alerts] == [
            ("connected", "Alpha, Beta: connected to Xero"),
            ("disconnected", "Alpha, Beta: disconnected from Xero"),
        ]
        assert "local (owner, from 127.0.0.1) connected Alpha, Beta." in alerts[0].text
        assert page.api("/standing").json()["alerts"] == []


def test_names_from_elsewhere_cannot_forge_a_line_of_the_log(sqlite_warehouse: Warehouse) -> None:
    trail, actor = AuditTrail(sqlite_warehouse), Actor("ann", "owner", "203.0.113.7")
    trail.record(actor, AuditAction.DISCONNECT, "Evil\x1b[2J\n2026 admin owner success Bearer abcdefghijklmnop")
    [row] = sqlite_warehouse.audit.list_newest(1)
    assert row.subject == "Evil [2J 2026 admin owner success [hidden]"
    assert GUESSES_REPORTED > 5
