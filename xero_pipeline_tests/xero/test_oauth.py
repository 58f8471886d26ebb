"""What the identity server's token answers may hold: tokens that can be used, or one clear error without them."""

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
from xero_pipeline_tests.xero.http.budgets import RememberingBudget

ANSWER = {
    "access_token": "an-access-token-of-somebody",
    "refresh_token": "a-refresh-token-of-somebody",
    "expires_in": 1800,
    "token_type": "Bearer",
}


@pytest.fixture
def session(clock: FakeClock) -> Iterator[XeroSession]:
    with XeroSession(RememberingBudget(), clock) as opened:
        yield opened


def sign_in(session: XeroSession, clock: FakeClock, url: str) -> SignIn:
    app = XeroApp(
        client_id="an-app",
        client_secret="a-secret",
        scopes="offline_access",
        redirect_uri="http://127.0.0.1/callback",
        login_url=url,
        identity_url=url,
    )
    return SignIn(session, app, clock)


def test_tokens_live_from_the_moment_that_they_were_asked_for(session: XeroSession, clock: FakeClock) -> None:
    with ScriptedServer(lambda _: Answer(json=ANSWER)) as server:
        tokens = sign_in(session, clock, server.url).exchange_code("a-code", code_verifier="v" * 43)
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
def test_an_answer_without_a_token_that_can_be_used_is_an_error_that_shows_none_of_it(
    session: XeroSession, clock: FakeClock, changed: dict[str, Any]
) -> None:
    with (
        ScriptedServer(lambda _: Answer(json=ANSWER | changed)) as server,
        pytest.raises(PayloadNotUnderstood, match="token answer is not understood") as caught,
    ):
        sign_in(session, clock, server.url).exchange_code("a-code", code_verifier="v" * 43)
    shown = "".join(str(one) for one in (caught.value, caught.value.__cause__, caught.value.__context__))
    assert "somebody" not in shown
    assert len(server.requests) == 1
