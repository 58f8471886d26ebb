"""The identity server's token answers become usable tokens, or one clear error that shows none of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline.xero.oauth import SignIn, XeroApp
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.servers import Answer, ScriptedServer
from xero_pipeline_tests.xero.http.budgets import RecordingBudget

ANSWER = {
    "access_token": "an-access-token-of-somebody",
    "refresh_token": "a-refresh-token-of-somebody",
    "expires_in": 1800,
    "token_type": "Bearer",
}


@pytest.fixture
def session(clock: FakeClock) -> Iterator[XeroSession]:
    with XeroSession(RecordingBudget(), clock) as opened:
        yield opened


def make_sign_in(session: XeroSession, clock: FakeClock, url: str) -> SignIn:
    app = XeroApp(
        client_id="an-app",
        client_secret="a-secret",
        scopes="offline_access",
        redirect_uri="http://127.0.0.1/callback",
        login_url=url,
        identity_url=url,
    )
    return SignIn(session, app, clock)


def test_the_life_of_tokens_begins_when_they_are_requested(session: XeroSession, clock: FakeClock) -> None:
    with ScriptedServer(lambda _: Answer(json=ANSWER)) as server:
        tokens = make_sign_in(session, clock, server.url).exchange_code("a-code", code_verifier="v" * 43)
    assert tokens.expires_at == clock.now() + timedelta(minutes=30)
    assert (tokens.access_token, tokens.refresh_token) == (ANSWER["access_token"], ANSWER["refresh_token"])


@pytest.mark.parametrize(
    "changed",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "an-access-token\nof-somebody"},
        {"access_token": "an access token of somebody"},
        {"access_token": "ein-Schlüssel-von-somebody"},
        {"expires_in": None},
        {"expires_in": "soon"},
        {"expires_in": 10**15},
    ],
    ids=str,
)
def test_an_answer_without_a_usable_token_is_an_error_that_shows_nothing_of_it(
    session: XeroSession, clock: FakeClock, changed: dict[str, Any]
) -> None:
    with (
        ScriptedServer(lambda _: Answer(json=ANSWER | changed)) as server,
        pytest.raises(PayloadNotUnderstood, match="token answer is not understood") as caught,
    ):
        make_sign_in(session, clock, server.url).exchange_code("a-code", code_verifier="v" * 43)
    shown = "".join(str(error) for error in (caught.value, caught.value.__cause__, caught.value.__context__))
    assert "somebody" not in shown
    assert len(server.requests) == 1
