"""Ended means ended: sessions across restarts and processes, the idle limit, and the consents that die with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline_tests.admin.deployed import API, KEY, Page, serve_page
from xero_pipeline_tests.admin.test_callback import begin_consent, finish_consent, read_reason, serve_with_xero
from xero_pipeline_tests.conftest import FakeClock

TOKEN = "the-admin-token-7c1f"
COOKIE = "xero_pipeline_session"
SETTINGS = {"ADMIN_TOKEN": TOKEN, "XERO_ENCRYPTION_KEY": KEY}


@pytest.fixture
def closed(tmp_path: Path, migrated: Path) -> Iterator[Page]:
    with serve_page(tmp_path, template=migrated, **SETTINGS) as page:
        yield page


@contextmanager
def serve_second(first: Page, **changes: Any) -> Iterator[Page]:
    """Serve the page of the same deployment once more, as a second process or a restart does."""
    home = first.settings.home_folder
    with serve_page(home, migrate=False, clock=first.clock, **SETTINGS | changes) as page:
        yield page


def sign_in(page: Page, token: str = TOKEN) -> dict[str, str]:
    """Sign in and return the header of the session's cookie, as a copy of it."""
    with page.browser() as browser:
        assert browser.post("/login", data={"token": token}).status_code == 303
        return {"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}


def is_in(page: Page, cookie: dict[str, str]) -> bool:
    return page.api("/status", headers=cookie).status_code == 200


def test_a_signed_out_session_stays_out_in_a_second_process_and_after_a_restart(closed: Page) -> None:
    cookie = sign_in(closed)
    with serve_second(closed) as second:
        assert is_in(second, cookie)
        assert second.post("/logout", headers=cookie).status_code == 303
        assert not is_in(closed, cookie)
        assert not is_in(second, cookie)
    with serve_second(closed) as restarted:
        assert not is_in(restarted, cookie)


def test_a_session_lives_on_after_a_restart(closed: Page) -> None:
    cookie = sign_in(closed)
    with serve_second(closed) as restarted:
        assert is_in(restarted, cookie)


def test_a_session_that_is_not_used_for_an_hour_ends(closed: Page) -> None:
    cookie = sign_in(closed)
    for _ in range(3):
        closed.clock.advance(minutes=59)
        assert is_in(closed, cookie)
    closed.clock.advance(minutes=60)
    assert not is_in(closed, cookie)


def test_what_an_open_page_asks_by_itself_does_not_keep_a_session_alive(closed: Page) -> None:
    cookie = sign_in(closed)
    for _ in range(59):
        closed.clock.advance(minutes=1)
        assert is_in(closed, cookie | {"X-Background": "1"})
    closed.clock.advance(minutes=1)
    assert not is_in(closed, cookie | {"X-Background": "1"})


def test_people_who_have_signed_in_can_look_while_nothing_can_be_written(
    closed: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = sign_in(closed)

    def refuse(*_: object) -> None:
        raise OperationalError("UPDATE", {}, sqlite3.OperationalError("attempt to write a readonly database"))

    closed.clock.advance(minutes=10)
    monkeypatch.setattr(closed.deployment.warehouse.sessions, "touch", refuse)
    assert is_in(closed, cookie)


@pytest.mark.parametrize("changed", [{"ADMIN_TOKEN": "another-token"}, {"XERO_ENCRYPTION_KEY": "6e" * 32}])
def test_a_changed_token_or_key_ends_the_sessions(closed: Page, changed: dict[str, str]) -> None:
    cookie = sign_in(closed)
    with serve_second(closed, **changed) as restarted:
        assert not is_in(restarted, cookie)


def test_a_removed_person_is_out_at_once_also_if_the_name_is_given_again(closed: Page) -> None:
    persons = closed.deployment.warehouse.persons
    cookie = sign_in(closed, persons.add("Ann", AccessRole.OPERATOR, now=closed.clock.now()) or "")
    assert is_in(closed, cookie)
    admin = {"Authorization": f"Bearer {TOKEN}"}
    assert closed.post(f"{API}/access/remove", headers=admin, json={"name": "Ann"}).status_code == 200
    assert not is_in(closed, cookie)
    persons.add("Ann", AccessRole.OWNER, now=closed.clock.now())
    assert not is_in(closed, cookie)
    assert closed.deployment.warehouse.sessions.list_open(closed.clock.now()) == []


def test_the_owner_lists_sessions_ends_one_and_ends_all(closed: Page) -> None:
    token = closed.deployment.warehouse.persons.add("Ann", AccessRole.VIEWER, now=closed.clock.now())
    cookies = [sign_in(closed), sign_in(closed, token or ""), sign_in(closed)]
    listed = closed.api("/sessions", headers=cookies[0]).json()
    assert [(one["who"], one["role"], one["isCurrent"]) for one in listed] == [
        ("admin", "owner", False),
        ("Ann", "viewer", False),
        ("admin", "owner", True),
    ]
    ends = closed.post(f"{API}/sessions/end", headers=cookies[0], json={"id": listed[1]["id"]})
    assert ends.json() == {"ended": 1}
    assert [is_in(closed, cookie) for cookie in cookies] == [True, False, True]
    again = closed.post(f"{API}/sessions/end", headers=cookies[0], json={"id": listed[1]["id"]})
    assert (again.status_code, again.json()["error"]["code"]) == (404, "unknown_session")
    assert closed.post(f"{API}/sessions/end", headers=cookies[0], json={"id": None}).status_code == 422
    assert closed.post(f"{API}/sessions/end", headers=cookies[0]).json() == {"ended": 2}
    assert [is_in(closed, cookie) for cookie in cookies] == [False, False, False]


def test_the_table_holds_neither_a_cookie_nor_what_makes_one(closed: Page) -> None:
    value = sign_in(closed)["Cookie"].partition("=")[2]
    [stored] = closed.deployment.warehouse.sessions.list_open(closed.clock.now())
    assert value not in repr(stored)
    assert TOKEN not in repr(stored)
    assert not is_in(closed, {"Cookie": f"{COOKIE}={stored.session_hash}"})


# ---- consents in progress -----------------------------------------------------------------------------------


@contextmanager
def connecting(tmp_path: Path, template: Path, **routes: Any) -> Iterator[tuple[Page, httpx.Client, Any]]:
    """A page whose owner has signed in, in a browser of their own."""
    with (
        serve_with_xero(tmp_path, template, routes, **SETTINGS) as (page, xero),
        page.browser() as browser,
    ):
        browser.post("/login", data={"token": TOKEN})
        yield page, browser, xero


def count_exchanges(xero: Any) -> int:
    return len([request for request in xero.requests if request.path == "/connect/token"])


def test_a_consent_dies_with_the_sign_out(tmp_path: Path, migrated: Path) -> None:
    with connecting(tmp_path, migrated) as (page, browser, xero):
        state = begin_consent(browser)["state"]
        browser.post("/logout")
        assert read_reason(finish_consent(browser, state=state, code="c")) == "state_ended"
        browser.post("/login", data={"token": TOKEN})
        assert read_reason(finish_consent(browser, state=state, code="c")) == "state_used"
        assert page.deployment.warehouse.tokens.list_organisations() == []
        assert count_exchanges(xero) == 0


def test_a_consent_dies_with_any_disconnect(tmp_path: Path, migrated: Path) -> None:
    with connecting(tmp_path, migrated) as (page, browser, xero):
        state = begin_consent(browser)["state"]
        assert browser.post(f"{API}/disconnect").status_code == 200
        assert read_reason(finish_consent(browser, state=state, code="c")) == "state_ended"
        assert count_exchanges(xero) == 0
        finish_consent(browser, state=begin_consent(browser)["state"], code="c")
        assert len(page.deployment.warehouse.tokens.list_organisations()) == 2


def test_a_consent_dies_when_the_owner_ends_the_session_or_takes_the_access(tmp_path: Path, migrated: Path) -> None:
    with connecting(tmp_path, migrated) as (page, browser, _):
        persons, admin = page.deployment.warehouse.persons, {"Authorization": f"Bearer {TOKEN}"}
        token = persons.add("Ann", AccessRole.OWNER, now=page.clock.now())
        browser.post("/login", data={"token": token})
        state = begin_consent(browser)["state"]
        page.post(f"{API}/sessions/end", headers=admin)
        assert read_reason(finish_consent(browser, state=state, code="c")) == "state_ended"
        bearer = {"Authorization": f"Bearer {token}"}
        with page.browser(**bearer) as program:
            state = begin_consent(program)["state"]
            persons.remove("Ann")
            del program.headers["Authorization"]
            assert read_reason(finish_consent(program, state=state, code="c")) == "state_ended"


@pytest.mark.parametrize("changed", [{"ADMIN_TOKEN": "another-token"}, {"ADMIN_TOKEN": ""}], ids=["changed", "removed"])
def test_a_consent_dies_with_a_changed_token(tmp_path: Path, migrated: Path, changed: dict[str, str]) -> None:
    clock = FakeClock()
    with serve_with_xero(tmp_path, migrated, {}, clock=clock, **SETTINGS) as (page, xero):
        with page.browser() as browser:
            browser.post("/login", data={"token": TOKEN})
            state = begin_consent(browser)["state"]
            secret = browser.cookies["xero_pipeline_browser"]
        same = {name: getattr(page.settings, field) for name, field in (("XERO_API_URL", "api_url"),)}
        with serve_second(page, XERO_IDENTITY_URL=xero.url, **same | changed) as restarted, restarted.browser() as back:
            back.cookies.set("xero_pipeline_browser", secret)
            assert read_reason(finish_consent(back, state=state, code="c")) == "state_ended"
        assert count_exchanges(xero) == 0


def test_a_disconnect_while_xero_answers_leaves_nothing_connected(tmp_path: Path, migrated: Path) -> None:
    """The state was used already, and the tokens have come. They are revoked, and not stored."""
    held: dict[str, Any] = {}

    def answer_connections(_request: Any) -> Any:
        held["page"].deployment.warehouse  # noqa: B018
        assert held["browser"].post(f"{API}/disconnect").status_code == 200
        return [{"id": "c-1", "tenantId": "t-1", "tenantName": "Alpha", "tenantType": "ORGANISATION"}]

    with connecting(tmp_path, migrated, connections=answer_connections, revocation={}) as (page, browser, xero):
        with page.browser(**dict(browser.headers)) as other:
            other.cookies = browser.cookies
            held.update(page=page, browser=other)
            state = begin_consent(browser)["state"]
            assert read_reason(finish_consent(browser, state=state, code="c")) == "state_ended"
        assert page.deployment.warehouse.tokens.list_organisations() == []
        [revoked] = [request for request in xero.requests if request.path == "/connect/revocation"]
        assert revoked.form["token"] == "refresh-token-from-xero"


# ---- tokens that nobody keeps --------------------------------------------------------------------------------

ALPHA = {"id": "c-1", "tenantId": "t-1", "tenantName": "Alpha", "tenantType": "ORGANISATION"}
WITHOUT_SCOPES = {
    "access_token": "an-access-token",
    "refresh_token": "an-unkept-refresh-token",
    "expires_in": 1800,
    "token_type": "Bearer",
    "scope": "offline_access accounting.settings.read",
}


def list_revoked(xero: Any) -> list[str]:
    return [request.form["token"] for request in xero.requests if request.path == "/connect/revocation"]


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        ({"token": WITHOUT_SCOPES}, "scope_missing"),
        ({"connections": []}, "no_organisation"),
        ({"connections": [{"tenantId": "t-1", "tenantType": "ORGANISATION"}]}, "payload_not_understood"),
    ],
)
def test_tokens_that_are_not_kept_are_revoked(
    tmp_path: Path, migrated: Path, routes: dict[str, Any], reason: str
) -> None:
    with connecting(tmp_path, migrated, **{"revocation": {}} | routes) as (_, browser, xero):
        assert read_reason(finish_consent(browser, state=begin_consent(browser)["state"], code="c")) == reason
        assert len(list_revoked(xero)) == 1


def test_tokens_are_not_revoked_if_that_would_end_a_kept_connection(tmp_path: Path, migrated: Path) -> None:
    """Xero's revocation ends every connection of the person who consented."""
    routes = {"token": WITHOUT_SCOPES, "connections": [ALPHA | {"id": "connection-t-1"}], "revocation": {}}
    with connecting(tmp_path, migrated, **routes) as (page, browser, xero):
        page.connect(("t-1", "Alpha"), grant="kept")
        assert read_reason(finish_consent(browser, state=begin_consent(browser)["state"], code="c")) == "scope_missing"
        assert list_revoked(xero) == []
        assert page.deployment.warehouse.tokens.load_tokens("t-1").refresh_token == "refresh-kept"


def test_tokens_of_another_person_are_revoked_although_something_is_kept(tmp_path: Path, migrated: Path) -> None:
    with connecting(tmp_path, migrated, token=WITHOUT_SCOPES, connections=[ALPHA], revocation={}) as (
        page,
        browser,
        xero,
    ):
        page.connect(("t-9", "Kept"), grant="kept")
        finish_consent(browser, state=begin_consent(browser)["state"], code="c")
        assert list_revoked(xero) == ["an-unkept-refresh-token"]


def test_tokens_are_not_revoked_if_it_cannot_be_told_what_that_would_end(tmp_path: Path, migrated: Path) -> None:
    with connecting(tmp_path, migrated, connections={"not": "a list"}, revocation={}) as (page, browser, xero):
        page.connect(("t-9", "Kept"), grant="kept")
        finish_consent(browser, state=begin_consent(browser)["state"], code="c")
        assert list_revoked(xero) == []


def test_a_revocation_that_fails_hides_neither_the_reason_nor_shows_a_token(
    tmp_path: Path, migrated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with connecting(tmp_path, migrated, token=WITHOUT_SCOPES) as (_, browser, _xero):
        assert read_reason(finish_consent(browser, state=begin_consent(browser)["state"], code="c")) == "scope_missing"
    assert "could not be revoked" in caplog.text
    assert "an-unkept-refresh-token" not in caplog.text
