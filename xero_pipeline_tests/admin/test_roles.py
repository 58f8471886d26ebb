"""Every request has a role that it needs, and who has a lower one is refused before any route runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import text
from starlette.routing import Mount

from xero_pipeline.admin.app import create_app
from xero_pipeline.admin.roles import CHANGING_ROUTES, OPEN_PATHS, SAFE_METHODS, required_role
from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline_tests.admin.deployed import API, FakeDagster, Page, load_app_settings, serve_page

TOKEN = "the-admin-token-7c1f"
# What everybody who has signed in may do.
SIGN_OUT = "/logout"


@pytest.fixture
def closed(tmp_path: Path, migrated: Path) -> Iterator[Page]:
    with serve_page(tmp_path, template=migrated, ADMIN_TOKEN=TOKEN) as page:
        yield page


def add_person(page: Page, name: str, role: AccessRole) -> dict[str, str]:
    """Give somebody a role and return the header of their token."""
    token = page.deployment.warehouse.persons.add(name, role, now=page.clock.now())
    return {"Authorization": f"Bearer {token}"}


def list_routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield the method and the path of every route of the app. What is mounted has one role for all of it."""
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, Mount):
            assert context.methods, f"{context.path} is a kind of route that the roles do not know"
            yield from ((method, context.path) for method in context.methods)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    dagster: Any = FakeDagster()
    settings = load_app_settings(tmp_path_factory.mktemp("app"), ADMIN_TOKEN=TOKEN)
    return list(list_routes(create_app(settings, dagster=dagster)))


def test_every_route_that_changes_something_has_a_role_and_no_other_is_listed(
    routes: list[tuple[str, str]],
) -> None:
    changing = {path for method, path in routes if method not in SAFE_METHODS}
    assert changing - OPEN_PATHS == set(CHANGING_ROUTES)


def test_every_route_but_the_open_ones_needs_a_role(routes: list[tuple[str, str]]) -> None:
    for method, path in routes:
        assert (required_role(path, method) is None) == (path in OPEN_PATHS), (method, path)


def test_what_is_not_listed_needs_an_owner() -> None:
    assert required_role(f"{API}/something-new", "POST") is AccessRole.OWNER
    assert required_role("/", "DELETE") is AccessRole.OWNER
    assert required_role("/", "WEBSOCKET") is AccessRole.OWNER
    assert required_role(f"{API}/sync/", "POST") is AccessRole.OWNER


@pytest.mark.parametrize("method", ["GET", "POST", "WEBSOCKET"])
@pytest.mark.parametrize("path", ["/dagster", "/dagster/", "/dagster/graphql", "/dagster/runs/a"])
def test_dagsters_ui_needs_an_operator_whatever_the_method(path: str, method: str) -> None:
    assert required_role(path, method) is AccessRole.OPERATOR
    assert required_role("/dagster-news", "GET") is AccessRole.VIEWER


def test_a_viewer_gets_403_on_every_post_and_sees_the_rest(closed: Page, routes: list[tuple[str, str]]) -> None:
    closed.connect(("t-1", "Alpha"))
    viewer = add_person(closed, "Vera", AccessRole.VIEWER)
    for path in (path for method, path in routes if method == "POST" and path not in {"/login", SIGN_OUT}):
        answer = closed.post(path, headers=viewer, json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_needed"), path
    for path in ("/connect", "/access", "/sessions"):
        assert closed.api(path, headers=viewer).status_code == 403
    assert closed.get("/auth/operator", headers=viewer).status_code == 403
    for path in ("/status", "/standing", "/sync-logs", "/summary", "/restatements", "/audit"):
        assert closed.api(path, headers=viewer).status_code == 200
    assert closed.get("/", headers=viewer).status_code == 200
    assert (closed.dagster.launched, closed.dagster.running) == ([], False)
    assert [one.tenant_id for one in closed.deployment.warehouse.tokens.list_organisations()] == ["t-1"]


def test_an_operator_syncs_and_switches_and_does_not_connect_or_disconnect(closed: Page) -> None:
    closed.connect(("t-1", "Alpha"))
    operator = add_person(closed, "Otto", AccessRole.OPERATOR)
    assert closed.post(f"{API}/sync", headers=operator).status_code == 200
    assert closed.post(f"{API}/scheduler/start", headers=operator).json() == {"running": True}
    assert closed.get("/auth/operator", headers=operator).status_code == 204
    for path in ("/disconnect", "/access/add", "/access/remove", "/sessions/end"):
        assert closed.post(API + path, headers=operator).status_code == 403
    assert closed.api("/connect", headers=operator).status_code == 403
    assert closed.get("/auth/owner", headers=operator).status_code == 403


def test_an_owner_of_their_own_token_may_do_everything(closed: Page) -> None:
    owner = add_person(closed, "Olga", AccessRole.OWNER)
    assert closed.api("/connect", headers=owner).status_code == 302
    added = closed.post(f"{API}/access/add", headers=owner, json={"name": "Vera", "role": "viewer"}).json()
    assert closed.api("/status", headers={"Authorization": f"Bearer {added['token']}"}).status_code == 200
    assert [(one["name"], one["role"]) for one in closed.api("/access", headers=owner).json()] == [
        ("Olga", "owner"),
        ("Vera", "viewer"),
    ]
    assert added["token"] not in closed.api("/access", headers=owner).text
    assert closed.post(f"{API}/access/remove", headers=owner, json={"name": "Vera"}).json() == {"success": True}
    refused = closed.api("/status", headers={"Authorization": f"Bearer {added['token']}"})
    assert refused.status_code == 401
    again = closed.post(f"{API}/access/remove", headers=owner, json={"name": "Vera"})
    assert (again.status_code, again.json()["error"]["code"]) == (404, "unknown_person")


def test_a_role_is_needed_after_the_origin_is_ours(closed: Page) -> None:
    """Another site's request is refused as such, and no refusal of the visitor's role is written down."""
    closed.deployment.warehouse.persons.add("Vera", AccessRole.VIEWER, now=closed.clock.now())
    token = closed.deployment.warehouse.persons.add("Vic", AccessRole.VIEWER, now=closed.clock.now())
    closed.post("/login", data={"token": token})
    answer = closed.post(f"{API}/sync", headers={"Origin": "https://evil.example"})
    assert answer.json()["error"]["code"] == "origin_refused"
    rows = closed.deployment.warehouse.audit.list_newest(10)
    assert [(row.action, row.outcome) for row in rows] == [("sign_in", "success")]


def test_the_page_shows_a_viewer_who_they_are_and_nothing_that_they_cannot_use(closed: Page) -> None:
    token = closed.deployment.warehouse.persons.add("Vera", AccessRole.VIEWER, now=closed.clock.now())
    closed.post("/login", data={"token": token})
    shown = closed.get("/").text
    assert 'data-role="viewer"' in shown
    assert "Vera" in shown
    assert 'id="access"' not in shown
    assert 'id="audit"' in shown


# ---- a proxy that signs people in --------------------------------------------------------------------------

PROXY = {"TRUSTED_PROXIES": "127.0.0.1", "TRUSTED_PROXY_USER_HEADER": "X-Forwarded-User"}


def test_the_user_of_the_trusted_proxy_has_the_role_of_the_table(tmp_path: Path, migrated: Path) -> None:
    with serve_page(tmp_path, template=migrated, **PROXY) as page:
        for name, role in (("Vera", AccessRole.VIEWER), ("Otto", AccessRole.OPERATOR)):
            assert page.deployment.warehouse.persons.add(name, role, now=page.clock.now(), with_token=False) is None
        assert page.api("/status", headers={"X-Forwarded-User": "Vera"}).status_code == 200
        assert page.post(f"{API}/scheduler/start", headers={"X-Forwarded-User": "Vera"}).status_code == 403
        assert page.post(f"{API}/scheduler/start", headers={"X-Forwarded-User": "Otto"}).status_code == 200
        stranger = page.api("/status", headers={"X-Forwarded-User": "Eve"})
        assert (stranger.status_code, stranger.json()["error"]["code"]) == (403, "no_role")
        assert page.api("/status").status_code == 401
        foreign = page.post(
            f"{API}/scheduler/start", headers={"X-Forwarded-User": "Otto", "Origin": "https://evil.example"}
        )
        assert foreign.json()["error"]["code"] == "origin_refused"
        [refused, started] = page.deployment.warehouse.audit.list_newest(10)[::-1]
        assert (refused.who, refused.role, refused.action, refused.outcome) == (
            "Vera",
            "viewer",
            "start_scheduler",
            "refused",
        )
        assert (started.who, started.role, started.outcome) == ("Otto", "operator", "success")


def test_under_a_rebound_name_the_proxy_signs_nobody_in(tmp_path: Path, migrated: Path) -> None:
    """A page of another site whose name was rebound to this machine sends whatever header it likes."""
    with serve_page(tmp_path, template=migrated, **PROXY) as page:
        page.deployment.warehouse.persons.add("Olga", AccessRole.OWNER, now=page.clock.now(), with_token=False)
        user = {"X-Forwarded-User": "Olga"}
        assert page.api("/access", headers=user).status_code == 200
        assert page.api("/access", headers=user | {"Host": "evil.example:3001"}).status_code == 401


def test_the_question_of_a_proxy_is_answered_with_401_or_403(tmp_path: Path, migrated: Path) -> None:
    """nginx takes any other status for a failure of its own."""
    with serve_page(tmp_path, template=migrated, **PROXY) as page:
        assert page.client.get("/auth/operator").status_code == 401
        assert page.client.get("/auth/operator", headers={"X-Forwarded-User": "Eve"}).status_code == 403
        with page.deployment.warehouse.engine.begin() as connection:
            connection.execute(text("DROP TABLE access_tokens"))
        assert page.client.get("/auth/operator", headers={"X-Forwarded-User": "Eve"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-User", "Otto"), ("X-Forwarded-For", "10.0.0.1")],
        [("X-Forwarded-User", "Otto")],
    ],
)
def test_nobody_but_the_trusted_proxy_says_who_somebody_is(
    tmp_path: Path, migrated: Path, headers: list[tuple[str, str]]
) -> None:
    """Not even by claiming, in X-Forwarded-For, to come from the proxy."""
    settings = PROXY | {"TRUSTED_PROXIES": "10.0.0.1", "ADMIN_TOKEN": TOKEN}
    with serve_page(tmp_path, template=migrated, **settings) as page:
        page.deployment.warehouse.persons.add("Otto", AccessRole.OPERATOR, now=page.clock.now())
        assert httpx.get(f"{page.url}{API}/status", headers=headers).status_code == 401


def test_two_names_in_the_header_are_none(tmp_path: Path, migrated: Path) -> None:
    with serve_page(tmp_path, template=migrated, **PROXY) as page:
        page.deployment.warehouse.persons.add("Otto", AccessRole.OPERATOR, now=page.clock.now())
        two = [("X-Forwarded-User", "Otto"), ("X-Forwarded-User", "Vera")]
        assert httpx.get(f"{page.url}{API}/status", headers=two).status_code == 401


def test_without_the_setting_no_header_says_who_somebody_is(closed: Page) -> None:
    closed.deployment.warehouse.persons.add("Otto", AccessRole.OPERATOR, now=closed.clock.now())
    for name in ("X-Forwarded-User", "Remote-User", "X-Remote-User"):
        assert closed.api("/status", headers={name: "Otto"}).status_code == 401
