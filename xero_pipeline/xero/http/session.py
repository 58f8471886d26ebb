"""The session that carries every request to Xero: a slot for each attempt, patience, and whole answers.

One `send` is one HTTP attempt and takes one slot of the shared budget, retries too. What an answer means
is settled in `answers.py`, when to try again in `retry.py`, how a slot is waited for in `slots.py`.
Nothing here knows whether a real Xero answers or the mock: that is the transport's matter.
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import random
from collections.abc import Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import urllib3
from requests import PreparedRequest, Request, Response, Session
from requests import exceptions as failures
from requests.adapters import BaseAdapter
from requests.auth import AuthBase
from requests_ratelimiter import LimiterMixin, LimiterSession
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from xero_pipeline.clock import Clock
from xero_pipeline.rate_limits import CallBudget, RateLimitHeaders, RateLimitKind
from xero_pipeline.xero.errors import RequestRefused
from xero_pipeline.xero.http.deadline import DeadlineAdapter
from xero_pipeline.xero.http.permits import APP, CallPermitLimiter, OnWait, wait_reason
from xero_pipeline.xero.http.retry_policy import (
    RateLimitHit,
    RetryPolicy,
    TransientError,
    TransportFailure,
    read_limit,
    read_rate_limit_headers,
    read_retry_after,
)

log = logging.getLogger("xero_pipeline.xero")

TENANT_HEADER = "xero-tenant-id"
USER_AGENT = "xero-pipeline"

# Seconds from the request's start until its whole answer must be there (`deadline.py`). A slot's lease in
# warehouse/call_budget/counts.py outlives it.
DEADLINE = 120.0

# What requests, urllib3 and http.client raise when an answer does not come, or not whole.
_BROKEN = (failures.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
# The longest of what JSON may be cut in without ending there: `false`, and `\u` with its digits.
_CUT_WORD = 6
# What they raise for a request that cannot be sent at all: trying again never helps.
_UNSENDABLE = (
    failures.InvalidURL,
    failures.InvalidSchema,
    failures.MissingSchema,
    failures.InvalidHeader,
    UnicodeError,
    urllib3.exceptions.LocationValueError,
)

Pairs = Mapping[str, Any] | Sequence[tuple[str, Any]]


class _AsWritten(AuthBase):
    """Leaves a request's headers alone. Without any auth, requests would look into `~/.netrc`."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        return request


class XeroSession(LimiterSession):
    """A requests session for Xero. Safe to use from several threads.

    Args:
        budget: gives the slots; shared by every process of the deployment.
        transport: carries the requests instead of the network (the mock).
        timeouts: seconds to connect, and to wait for the next bytes.
        tries: how often a request is sent that meets 5xx, time-outs, dropped or truncated answers.
        on_wait: told before each wait, with its seconds and the reason.
        deadline: seconds for one attempt over the network, from its start to the last byte of its answer.
    """

    def __init__(
        self,
        budget: CallBudget,
        clock: Clock,
        *,
        transport: BaseAdapter | None = None,
        timeouts: tuple[float, float] = (10, 60),
        tries: int = 3,
        on_wait: OnWait | None = None,
        random: random.Random | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self.budget = budget
        self.clock = clock
        self._timeouts = timeouts
        self._tries = tries
        self._on_wait = on_wait or _tell_nobody
        self._chance = random or _new_chance()
        self._environments: dict[tuple[str, ...], Mapping[str, Any]] = {}
        self._slots = CallPermitLimiter(budget, clock, self._chance, self._on_wait)
        super().__init__(limiter=self._slots, per_host=False, limit_statuses=())
        self.headers["User-Agent"] = USER_AGENT
        self.headers["Accept"] = "application/json"
        self.auth = _AsWritten()
        # Xero's API knows no sessions; a cookie of one organisation's call must not go with another's.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = transport or DeadlineAdapter(deadline, clock)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    @property
    def attempts(self) -> int:
        """HTTP attempts at the API so far, retries included; those at the identity server cost no call."""
        return self._slots.given

    def call(
        self,
        method: str,
        url: str,
        *,
        tenant_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Pairs | None = None,
        data: Pairs | str | bytes | None = None,
        auth: AuthBase | None = None,
        identity: bool = False,
    ) -> Response:
        """Send a request and come back with its whole answer, whatever its status but 429 and 5xx.

        Args:
            tenant_id: the organisation, whose slots the attempts take; `None` for a call of the app's own.
            identity: a request to the identity server: no slots, since the API's limits are not its own.

        Raises:
            XeroUnavailable: 5xx, time-outs, dropped or truncated answers, each time.
            MinuteLimitReached, RateLimited: a short limit that outlasted our patience.
            DayLimitReached: at once, with the moment to go on.
            RequestRefused: the request cannot be sent as it is.
        """
        what = f"{method} {_path(url)}"
        request = self._prepare(method, url, what, tenant_id, headers, params, data, auth)
        patience = RetryPolicy(self._tries, self.clock, self._chance)
        trying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=patience.stop,
            wait=patience.wait,
            before_sleep=self._tell_of_wait,
            sleep=self.clock.sleep,
            reraise=True,
        )
        try:
            return trying(self._try_once, request, what, identity, patience)
        except TransientError as setback:
            # `from None`: what lies beneath may hold the request, and with it the token.
            raise setback.as_error(what) from None

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send one attempt: take its slot, read its whole answer, give the slot back however it ended."""
        return self._send(request, kwargs, slot=True)

    def get_redirect_target(self, resp: Response) -> None:
        """No redirect is ever followed: it would carry the token to wherever it points."""
        return

    def _prepare(
        self,
        method: str,
        url: str,
        what: str,
        tenant_id: str | None,
        headers: Mapping[str, str] | None,
        params: Pairs | None,
        data: Pairs | str | bytes | None,
        auth: AuthBase | None,
    ) -> PreparedRequest:
        own = {TENANT_HEADER: tenant_id} if tenant_id is not None else {}
        request = Request(method, url, headers={**(headers or {}), **own}, params=params, data=data, auth=auth)
        try:
            return self.prepare_request(request)
        except _UNSENDABLE:
            raise _unsendable(what) from None

    def _try_once(self, request: PreparedRequest, what: str, identity: bool, patience: RetryPolicy) -> Response:
        patience.begin()
        try:
            return self._judge(self._carry(request, what, identity, patience.attempt), request, identity)
        except TransientError as setback:
            patience.note(setback)
            log.info("%s came to nothing: %s", what, setback)
            raise

    def _carry(self, request: PreparedRequest, what: str, identity: bool, attempt: int) -> Response:
        """One attempt over the wire; what breaks on the way is a `TransportFailure`."""
        try:
            response = self._send(request.copy(), dict(self._environment(request.url or "")), slot=not identity)
        except _UNSENDABLE:
            raise _unsendable(what) from None
        except _BROKEN as failure:
            raise TransportFailure(_in_words(failure)) from None
        log.info(
            "%s, attempt %d: %s, correlation %s",
            what,
            attempt,
            response.status_code,
            response.headers.get("Xero-Correlation-Id", "none"),
        )
        return response

    def _environment(self, url: str) -> Mapping[str, Any]:
        """The proxy and the certificates that the environment names, which stay as they are while we run."""
        server = urlsplit(url)[:2]
        if server not in self._environments:
            self._environments[server] = self.merge_environment_settings(url, {}, True, None, None)
        return self._environments[server]

    def _judge(self, response: Response, request: PreparedRequest, identity: bool) -> Response:
        """Let an answer pass unless another attempt may give a better one."""
        status = response.status_code
        if status == 429:
            raise self._limited(response, request, identity)
        if status >= 500 or status == 408:
            retry_after = read_retry_after(response, self.clock.now())
            raise TransportFailure(f"it answered {status}", status=status, retry_after=retry_after)
        # Another status says enough by itself: a 401 without its body is still a token that Xero does not take.
        if 200 <= status <= 299 and _is_cut(response):
            raise TransportFailure("its answer was cut short", status=status)
        return response

    def _limited(self, response: Response, request: PreparedRequest, identity: bool) -> RateLimitHit:
        hit = read_limit(response, self.clock)
        if identity:
            # The identity server's limits are the app's, and none of them lasts a day.
            return RateLimitHit(RateLimitKind.APP_MINUTE, hit.wait, self.clock.now())
        tenant_id = _tenant_of(request)
        # Too many at once is over in a moment, and no day limit is the app's own.
        if hit.problem is not RateLimitKind.CONCURRENT and (
            tenant_id is not None or hit.problem is not RateLimitKind.DAY
        ):
            self.budget.block(tenant_id, hit.problem, hit.until)
        return hit

    def _send(self, request: PreparedRequest, kwargs: dict[str, Any], *, slot: bool) -> Response:
        kwargs |= {
            "timeout": kwargs.get("timeout") or self._timeouts,
            "stream": True,
            "allow_redirects": False,
        }
        if not slot:
            return _read_whole(Session.send(self, request, **kwargs))
        response = None
        try:
            response = LimiterMixin.send(self, request, **kwargs)
            return _read_whole(response)
        finally:
            taken = self._slots.hand_over()
            if taken is not None:
                remaining = read_rate_limit_headers(response) if response is not None else RateLimitHeaders()
                self.budget.give_back(taken, self.clock.now(), remaining)

    def _bucket_name(self, request: PreparedRequest) -> str:
        return _tenant_of(request) or APP

    def _tell_of_wait(self, state: RetryCallState) -> None:
        setback = state.outcome.exception() if state.outcome is not None else None
        reason = wait_reason(setback.problem) if isinstance(setback, RateLimitHit) else f"an attempt failed: {setback}"
        self._on_wait(state.upcoming_sleep, reason)


def _read_whole(response: Response) -> Response:
    """Read the body to its end, and let the connection go."""
    raw = response.raw
    if isinstance(raw, urllib3.response.BaseHTTPResponse):
        # Not left to requests, which words everything that breaks here as a connection that was lost.
        try:
            body = raw.read(decode_content=True)
        except BaseException:
            raw.close()
            raise
        finally:
            raw.release_conn()
        response.raw = io.BytesIO(body)
    _ = response.content
    return response


def _path(url: str) -> str:
    """The path alone: a query may hold a secret."""
    try:
        return urlsplit(url).path or "/"
    except ValueError:
        return "a malformed address"


def _tenant_of(request: PreparedRequest) -> str | None:
    tenant_id = request.headers.get(TENANT_HEADER)
    return tenant_id.decode("latin-1") if isinstance(tenant_id, bytes) else tenant_id


def _is_cut(response: Response) -> bool:
    """Whether an answer that calls itself JSON ends before its JSON does.

    Xero writes chunked and compressed answers; a proxy on the way that drops its own source may still end
    them properly.
    """
    if "json" not in response.headers.get("Content-Type", "").lower() or response.status_code == 204:
        return False
    if not response.content:
        return response.request.method == "GET" and response.headers.get("Content-Length") != "0"
    try:
        json.loads(response.content)
    except UnicodeDecodeError as error:
        return error.end == len(response.content)
    except json.JSONDecodeError as error:
        # What is wrong in its middle is no JSON and never will be: that is for its reader to say.
        return error.msg.startswith("Unterminated") or len(error.doc.rstrip()) - error.pos < _CUT_WORD
    except (ValueError, RecursionError):
        return False
    return False


def _in_words(failure: Exception) -> str:
    """What broke, without the address and headers that the libraries put into their texts."""
    if isinstance(failure, failures.ConnectTimeout):
        return "connecting took too long"
    if isinstance(failure, (failures.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return "its answer took too long"
    if isinstance(failure, failures.ProxyError):
        return "the proxy let nothing through"
    if isinstance(failure, (failures.SSLError, urllib3.exceptions.SSLError)):
        return "no secure connection could be made"
    if isinstance(failure, failures.ConnectionError):
        return "the connection was refused or dropped"
    return "its answer was cut short"


def _unsendable(what: str) -> RequestRefused:
    return RequestRefused(
        f"{what} cannot be sent: its address or one of its headers is malformed.",
        advice="Check XERO_API_URL and XERO_IDENTITY_URL.",
    )


def _tell_nobody(_seconds: float, _reason: str) -> None:
    pass


def _new_chance() -> random.Random:
    return random.Random()  # noqa: S311 - jitter, no secret
