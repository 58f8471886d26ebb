"""Which requests are let through, and which headers every response carries."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from xero_pipeline.admin.login_throttle import FREE_ATTEMPTS, FREE_ATTEMPTS_OF_ALL, LoginThrottle, TooManyGuesses
from xero_pipeline.admin.security import (
    OpenToTheNetwork,
    RequestGuard,
    require_token_off_loopback,
    restrict_to_own_path,
)
from xero_pipeline.settings.base import is_loopback_host
from xero_pipeline_tests.admin.deployed import API, KEY, Page, load_app_settings, serve_page
from xero_pipeline_tests.conftest import FakeClock

TOKEN = "the-admin-token-7c1f"
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def closed(tmp_path: Path, migrated: Path) -> Iterator[Page]:
    """The page with ADMIN_TOKEN set."""
    with serve_page(tmp_path, template=migrated, ADMIN_TOKEN=TOKEN) as page:
        yield page


def read_error_code(answer: httpx.Response) -> str:
    error_code: str = answer.json()["error"]["code"]
    return error_code


# ---- where it listens -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "", "192.168.1.5", "example.com", "fe80::1", "localhost.evil.com"],  # noqa: S104
)
def test_the_page_does_not_listen_beyond_loopback_without_a_token(tmp_path: Path, host: str) -> None:
    with pytest.raises(OpenToTheNetwork, match="ADMIN_TOKEN"):
        require_token_off_loopback(load_app_settings(tmp_path), host)
    require_token_off_loopback(load_app_settings(tmp_path, ADMIN_TOKEN=TOKEN), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "::1", "[::1]", "127.8.8.8"])
def test_loopback_needs_no_token(tmp_path: Path, host: str) -> None:
    assert is_loopback_host(host)
    require_token_off_loopback(load_app_settings(tmp_path), host)


# ---- the Host header --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3001", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "["]
)
def test_a_host_name_that_is_not_ours_is_refused(page: Page, host: str) -> None:
    for path in ("/", f"{API}/status", "/healthz", "/openapi.json", "/static/app.css"):
        answer = page.get(path, headers={"Host": host})
        assert (answer.status_code, read_error_code(answer)) == (403, "host_refused")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:3001", "LOCALHOST"])
def test_the_names_of_this_machine_are_accepted(page: Page, host: str) -> None:
    assert page.api("/status", headers={"Host": host}).status_code == 200


def test_the_host_of_server_url_is_accepted(tmp_path: Path, migrated: Path) -> None:
    with serve_page(tmp_path, template=migrated, SERVER_URL="https://xero.example.com") as page:
        assert page.api("/status", headers={"Host": "xero.example.com"}).status_code == 200
        assert page.api("/status", headers={"Host": "other.example.com"}).status_code == 403


def test_a_connection_from_the_network_is_refused_whatever_host_it_claims(tmp_path: Path, migrated: Path) -> None:
    """The guard also protects an app whose server was bound to every address by hand."""
    guard = RequestGuard(load_app_settings(tmp_path), FakeClock(), None)

    def make_request(local: str) -> Request:
        return Request(
            {
                "type": "http",
                "method": "GET",
                "path": "/",
                "query_string": b"",
                "headers": [(b"host", b"localhost")],
                "server": (local, 3001),
                "client": ("192.168.1.9", 5000),
            }
        )

    assert guard.reject(make_request("127.0.0.1")) is None
    refused = guard.reject(make_request("192.168.1.5"))
    assert refused is not None
    assert refused.status_code == 403


# ---- where a request comes from ---------------------------------------------------------------------------

CHANGING = ["/disconnect", "/sync", "/scheduler/start", "/scheduler/stop"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://[bad"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "https://evil.example/page"},
        {"Referer": "about:blank"},
    ],
)
def test_another_site_changes_nothing(page: Page, headers: dict[str, str]) -> None:
    page.connect(("t-1", "Alpha"))
    for path in CHANGING:
        answer = page.post(API + path, headers=headers)
        assert (answer.status_code, read_error_code(answer)) == (403, "origin_refused")
    assert page.dagster.launched == []
    assert page.dagster.running is False
    assert len(page.deployment.warehouse.tokens.list_organisations()) == 1
    assert page.api("/status", headers=headers).status_code == 200, "reading changes nothing"


def test_our_own_pages_and_programs_can_change_something(page: Page) -> None:
    for headers in (
        {},
        {"Origin": page.url},
        {
            "Origin": page.url.replace("localhost", "127.0.0.1"),
            "Host": page.url.split("//")[1].replace("localhost", "127.0.0.1"),
        },
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Referer": f"{page.url}/"},
        {"Origin": page.url, "Sec-Fetch-Site": "cross-site"},
    ):
        assert page.post(f"{API}/scheduler/start", headers=headers).status_code == 200, headers


@pytest.mark.parametrize(
    ("server", "host", "origin", "passes"),
    [
        ("https://xero.example.com", "xero.example.com", "https://xero.example.com", True),
        ("https://xero.example.com", "xero.example.com", "http://xero.example.com", False),
        ("https://xero.example.com", "other.example.com", "https://other.example.com", True),
        ("https://xero.example.com", "localhost:3001", "http://localhost:3001", True),
        ("http://localhost:3001", "box.lan:3001", "http://box.lan:3001", True),
    ],
)
def test_on_https_the_scheme_of_the_origin_counts(
    tmp_path: Path, migrated: Path, server: str, host: str, origin: str, passes: bool
) -> None:
    """A page of the same name that came unencrypted may come from whoever is on the way."""
    with serve_page(tmp_path, template=migrated, SERVER_URL=server, ADMIN_TOKEN=TOKEN) as page:
        cookies = page.post("/login", data={"token": TOKEN}).headers["set-cookie"].split(";")[0]
        headers = {"Host": host, "Origin": origin, "Cookie": cookies}
        answer = page.post(f"{API}/scheduler/start", headers=headers)
        assert (answer.status_code == 200) is passes
        assert ("strict-transport-security" in answer.headers) is server.startswith("https")


def test_behind_a_proxy_the_origin_is_that_of_server_url(tmp_path: Path, migrated: Path) -> None:
    with serve_page(tmp_path, template=migrated, SERVER_URL="https://xero.example.com", ADMIN_TOKEN=TOKEN) as page:
        answer = page.post("/login", data={"token": TOKEN}, headers={"Origin": "https://evil.example"})
        assert read_error_code(answer) == "origin_refused"
        answer = page.post("/login", data={"token": TOKEN}, headers={"Origin": "http://xero.example.com"})
        assert read_error_code(answer) == "origin_refused", "the same name without its encryption is another origin"
        answer = page.post("/login", data={"token": TOKEN}, headers={"Origin": "https://xero.example.com"})
        session = answer.headers["set-cookie"].split(";")[0]
        ours = {"Origin": "https://xero.example.com", "Cookie": session}
        assert page.post(f"{API}/scheduler/start", headers=ours).status_code == 200


def test_a_get_request_cannot_change_anything(page: Page) -> None:
    for path in CHANGING:
        answer = page.api(path)
        assert (answer.status_code, read_error_code(answer)) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"


# ---- signing in -------------------------------------------------------------------------------------------


def test_without_a_session_a_browser_is_redirected_to_the_sign_in_and_a_program_gets_401(closed: Page) -> None:
    answer = closed.get("/", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (302, "/login")
    answer = closed.api("/connect", headers=HTML)
    assert answer.headers["location"] == "/login?next=%2Fapi%2Fv1%2Fxero%2Fconnect"
    for path in (
        "/",
        f"{API}/status",
        f"{API}/nothing",
        "/openapi.json",
        "/mock-xero/identity/connect/authorize",
        "/auth/operator",
        "/dagster/",
        "/dagster/graphql",
    ):
        answer = closed.get(path)
        assert (answer.status_code, read_error_code(answer)) == (401, "sign_in_needed")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert closed.post(f"{API}/sync", headers=HTML).status_code == 401


def test_some_addresses_need_no_sign_in(closed: Page) -> None:
    assert closed.get("/healthz").status_code == 200
    assert closed.get("/login").status_code == 200
    assert closed.get("/static/app.css").status_code == 200
    assert closed.api("/callback").headers["location"] == "/?xero=error&reason=state_missing"


def test_the_token_opens_a_session(closed: Page) -> None:
    answer = closed.post("/login", data={"token": TOKEN, "next": "/?xero=connected"}, headers={"Origin": closed.url})
    assert (answer.status_code, answer.headers["location"]) == (303, "/?xero=connected")
    set_cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in set_cookie
    assert "SameSite=lax" in set_cookie
    assert "Max-Age=43200" in set_cookie
    assert TOKEN not in set_cookie
    shown = closed.get("/", headers=HTML)
    assert shown.status_code == 200
    assert "/logout" in shown.text
    assert closed.post(f"{API}/scheduler/start", headers={"Origin": closed.url}).status_code == 200
    assert closed.post(f"{API}/scheduler/start", headers={"Origin": "https://evil.example"}).status_code == 403
    assert closed.get("/login").headers["location"] == "/"


def test_on_https_the_cookies_are_bound_to_the_host_and_secure(tmp_path: Path, migrated: Path) -> None:
    settings = {"SERVER_URL": "https://xero.example.com", "ADMIN_TOKEN": TOKEN}
    with serve_page(tmp_path, template=migrated, **settings) as page:
        answer = page.post("/login", data={"token": TOKEN}, headers={"Origin": "https://xero.example.com"})
        set_cookie = answer.headers["set-cookie"]
        assert set_cookie.startswith("__Host-xero_pipeline_session=")
        assert "Secure" in set_cookie
        assert "Path=/" in set_cookie
        assert "Domain" not in set_cookie


def test_a_wrong_token_is_refused_with_a_message(closed: Page) -> None:
    answer = closed.post("/login", data={"token": "guess"})
    assert answer.status_code == 401
    assert "wrong" in answer.text
    assert "guess" not in answer.text
    assert "set-cookie" not in answer.headers
    assert closed.post("/login").status_code == 401
    assert closed.post("/login", content=b"\xff\x00token=%ff").status_code == 401


def test_a_session_ends_after_twelve_hours(closed: Page) -> None:
    closed.post("/login", data={"token": TOKEN})
    for _ in range(14):
        closed.clock.advance(minutes=51)
        assert closed.api("/status").status_code == 200
    closed.clock.advance(minutes=6)
    assert closed.api("/status").status_code == 401


def test_signing_out_ends_the_session_also_for_a_copied_cookie(closed: Page) -> None:
    closed.post("/login", data={"token": TOKEN})
    copied = closed.client.cookies["xero_pipeline_session"]
    answer = closed.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "xero_pipeline_session" not in closed.client.cookies
    with closed.browser(Cookie=f"xero_pipeline_session={copied}") as thief:
        assert thief.get(f"{API}/status").status_code == 401


@pytest.mark.parametrize("other", [{"ADMIN_TOKEN": "another-token"}, {"XERO_ENCRYPTION_KEY": "6e" * 32}])
def test_a_session_is_valid_only_with_the_same_token_and_key(
    tmp_path: Path, migrated: Path, other: dict[str, str]
) -> None:
    settings = {"ADMIN_TOKEN": TOKEN, "XERO_ENCRYPTION_KEY": KEY}
    with serve_page(tmp_path, template=migrated, **settings) as page:
        page.post("/login", data={"token": TOKEN})
        session = page.client.cookies["xero_pipeline_session"]
        tampered = session[:-2] + ("aa" if session[-2:] != "aa" else "bb")
    with serve_page(tmp_path, migrate=False, **settings) as same:
        assert same.api("/status", headers={"Cookie": f"xero_pipeline_session={session}"}).status_code == 200
        assert same.api("/status", headers={"Cookie": f"xero_pipeline_session={tampered}"}).status_code == 401
    with serve_page(tmp_path, migrate=False, **settings | other) as changed:
        assert changed.api("/status", headers={"Cookie": f"xero_pipeline_session={session}"}).status_code == 401


def test_a_bearer_token_is_accepted_from_any_origin(closed: Page) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert closed.api("/status", headers=bearer).status_code == 200
    assert closed.post(f"{API}/scheduler/start", headers=bearer | {"Origin": "https://evil.example"}).status_code == 200
    wrong = closed.api("/status", headers={"Authorization": "Bearer guess"})
    assert (wrong.status_code, read_error_code(wrong)) == (401, "wrong_token")
    assert closed.api("/status", headers={"Authorization": "Basic " + TOKEN}).status_code == 401


def test_on_an_open_page_a_bearer_token_does_not_replace_the_origin_check(page: Page) -> None:
    headers = {"Authorization": "Bearer whatever", "Origin": "https://evil.example"}
    assert page.post(f"{API}/scheduler/start", headers=headers).status_code == 403


def test_an_open_page_redirects_from_the_sign_in(page: Page) -> None:
    assert page.get("/login").headers["location"] == "/"
    assert page.post("/login", data={"token": "x"}).headers["location"] == "/"
    assert "/logout" not in page.get("/").text


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/a\nb",
        "",
        "evil",
    ],
)
def test_the_sign_in_does_not_redirect_to_another_site(closed: Page, wanted: str) -> None:
    assert closed.post("/login", data={"token": TOKEN, "next": wanted}).headers["location"] == "/"


@given(st.text())
def test_the_sign_in_always_redirects_to_a_path_of_this_page(wanted: str) -> None:
    path = restrict_to_own_path(wanted)
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert "\n" not in path
    assert "\r" not in path


# ---- the throttle on wrong tokens --------------------------------------------------------------------------------


def test_each_further_wrong_token_doubles_the_wait(closed: Page) -> None:
    for _ in range(FREE_ATTEMPTS):
        assert closed.post("/login", data={"token": "guess"}).status_code == 401
    waits = []
    for _ in range(6):
        answer = closed.post("/login", data={"token": "guess"})
        assert answer.status_code == 429
        waits.append(int(answer.headers["retry-after"]))
        closed.clock.advance(seconds=waits[-1])
        closed.post("/login", data={"token": "guess"})
    assert waits == [1, 2, 4, 8, 16, 32]


def test_while_a_client_has_to_wait_the_right_token_passes(closed: Page) -> None:
    for _ in range(FREE_ATTEMPTS):
        closed.api("/status", headers={"Authorization": "Bearer guess"})
    refused = closed.api("/status", headers={"Authorization": "Bearer guess"})
    assert (refused.status_code, read_error_code(refused)) == (429, "too_many_guesses")
    assert int(refused.headers["retry-after"]) == 1
    page = closed.post("/login", data={"token": "guess"})
    assert (page.status_code, "right token is accepted at any time" in page.text) == (429, True)
    assert closed.api("/status", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert closed.post("/login", data={"token": TOKEN}).status_code == 303


def test_nobody_locks_the_owner_out_by_guessing_from_many_addresses() -> None:
    """20 guesses a second from 1,000 addresses, for a minute; the owner shares an address with one of them."""
    clock = FakeClock()
    throttle = LoginThrottle(clock)
    answered = 0
    for number in range(20 * 60):
        with contextlib.suppress(TooManyGuesses):
            answered += not throttle.record_attempt(f"10.0.{number % 1000 // 250}.{number % 250}", False)
        if number % 12 == 0:
            assert throttle.record_attempt("10.0.0.7", has_right_token=True) is True
        clock.advance(seconds=1 / 20)
    assert answered < 100


def test_one_client_that_goes_on_guessing_gets_few_answers_an_hour() -> None:
    clock = FakeClock()
    throttle = LoginThrottle(clock)
    answers = []
    for _ in range(3):
        answered = 0
        for _ in range(3600):
            with contextlib.suppress(TooManyGuesses):
                answered += not throttle.record_attempt("10.0.0.7", has_right_token=False)
            clock.advance(seconds=1)
        answers.append(answered)
    assert max(answers) < 20


def test_the_throttle_does_not_affect_a_session(closed: Page) -> None:
    closed.post("/login", data={"token": TOKEN})
    for _ in range(FREE_ATTEMPTS + 3):
        closed.api("/status", headers={"Authorization": "Bearer guess"})
    assert closed.api("/status").status_code == 200


def test_many_clients_together_have_to_wait_too() -> None:
    throttle = LoginThrottle(FakeClock())
    for number in range(FREE_ATTEMPTS_OF_ALL):
        assert throttle.record_attempt(f"client-{number}", has_right_token=False) is False
    with pytest.raises(TooManyGuesses):
        throttle.record_attempt("somebody-new", has_right_token=False)


def test_the_longest_wait_has_an_end_and_an_hour_forgives() -> None:
    clock = FakeClock()
    throttle = LoginThrottle(clock)
    longest = 0
    for _ in range(40):
        try:
            throttle.record_attempt("client", has_right_token=False)
        except TooManyGuesses as error:
            longest = max(longest, error.retry_after)
            clock.advance(seconds=error.retry_after)
    assert longest == 15 * 60
    clock.advance(hours=2)
    for _ in range(FREE_ATTEMPTS):
        assert throttle.record_attempt("client", has_right_token=False) is False


def test_a_right_token_does_not_forgive_somebody_who_guesses_from_the_same_address() -> None:
    throttle = LoginThrottle(FakeClock())
    for _ in range(FREE_ATTEMPTS):
        throttle.record_attempt("client", has_right_token=False)
    assert throttle.record_attempt("client", has_right_token=True) is True
    with pytest.raises(TooManyGuesses):
        throttle.record_attempt("client", has_right_token=False)


# ---- what every answer carries ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/login", f"{API}/status", f"{API}/nothing", "/static/app.js", "/healthz", "/nothing"]
)
def test_every_answer_carries_the_security_headers(page: Page, path: str) -> None:
    headers = page.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")
    assert "server" not in headers or "python" not in headers["server"].lower()


def test_the_page_has_no_inline_script_and_no_inline_style(page: Page) -> None:
    page.connect(("t-1", "<script>alert(1)</script>"))
    for path in ("/", "/?xero=connected"):
        text = page.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style", text)
        assert not re.search(r"""(src|href)=["'](https?:)?//(?!localhost)""", text), "nothing from elsewhere"


def test_an_unexpected_error_shows_no_trace(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    secret = "-".join(("secret", "of", "somebody"))

    def broken() -> bool:
        raise RuntimeError(secret)

    page.dagster.start_scheduler = broken
    answer = page.post(f"{API}/scheduler/start")
    assert (answer.status_code, read_error_code(answer)) == (500, "unexpected")
    assert "Traceback" not in answer.text
    assert secret not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "RuntimeError" in caplog.text
    assert "start_scheduler" in caplog.text
    assert secret not in caplog.text


def test_a_proxy_that_asks_who_has_signed_in_gets_nothing_but_204_and_401(closed: Page) -> None:
    """nginx turns any other status of its question into an error of the server."""
    assert closed.get("/auth/operator").status_code == 401
    statuses = {closed.get("/auth/operator", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(20)}
    assert statuses == {401}
    assert closed.get("/auth/operator", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 204
    closed.post("/login", data={"token": TOKEN})
    assert closed.get("/auth/operator").status_code == 204


def test_who_sends_x_forwarded_for_is_believed_only_behind_a_proxy(tmp_path: Path, migrated: Path) -> None:
    for server, statuses in (
        ("http://localhost:3001", [401] * 5 + [429] * 5),
        ("https://xero.example.com", [401] * 10),
    ):
        home = tmp_path / server.split("/")[2]
        with serve_page(home, template=migrated, SERVER_URL=server, ADMIN_TOKEN=TOKEN) as page:
            answers = [
                page.api("/status", headers={"Authorization": "Bearer no", "X-Forwarded-For": f"10.0.0.{n}"})
                for n in range(10)
            ]
            assert [answer.status_code for answer in answers] == statuses


def test_refused_callbacks_are_counted_and_not_logged_one_by_one(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(40):
        assert page.api(f"/callback?state=made-up-{number}&code=x").status_code == 302
    lines = [record.getMessage() for record in caplog.records if "connect failed" in record.getMessage()]
    assert len(lines) == 1
    page.clock.advance(minutes=2)
    page.api("/callback?state=made-up&code=x")
    page.api("/callback?error=access_denied")
    lines = [record.getMessage() for record in caplog.records if "connect failed" in record.getMessage()]
    assert len(lines) == 3
    assert lines[1].endswith("(and 39 more like it since the last such line)")


def test_a_web_socket_is_refused(page: Page) -> None:
    port = page.url.removeprefix("http://localhost:")
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 101 " not in connection.recv(200)


def test_a_body_that_is_too_long_is_refused(page: Page) -> None:
    for path in (f"{API}/sync", f"{API}/disconnect"):
        answer = page.post(path, content=b" " * 100_000)
        assert (answer.status_code, read_error_code(answer)) == (413, "too_long")


def test_the_client_secret_is_never_sent(page: Page) -> None:
    for path in ("/", "/openapi.json", f"{API}/status", f"{API}/connect"):
        assert "client-secret-of-the-app" not in page.get(path).text
