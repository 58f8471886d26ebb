"""The session that sends every request to Xero: with a permit for each attempt, with retries, and to the last byte.

One `send` is one HTTP attempt and takes one permit of the shared budget; a retry takes another. `answers.py` turns
answers into errors, `retry_policy.py` decides on retries, `permits.py` waits for permits. Nothing here knows whether
the real Xero answers or the mock: only the transport does.
"""

from __future__ import annotations

import http.client
import io
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
from xero_pipeline.xero.http.payloads import find_body_problem
from xero_pipeline.xero.http.permits import APP, CallPermitLimiter, OnWait, describe_wait
from xero_pipeline.xero.http.retry_policy import (
    LimitPatience,
    RateLimitHit,
    RetryPolicy,
    TransientError,
    TransportFailure,
    read_rate_limit,
    read_rate_limit_headers,
    read_retry_after,
)

log = logging.getLogger("xero_pipeline.xero")

TENANT_HEADER = "xero-tenant-id"
USER_AGENT = "xero-pipeline"

# Within how many seconds of the attempt's start its whole answer must have arrived (`deadline.py`). The lease of a
# permit in warehouse/call_budget/counts.py is longer.
DEADLINE = 120.0

# What requests, urllib3 and http.client raise when an answer does not arrive, or not as a whole.
_TRANSPORT_ERRORS = (failures.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
# What they raise for a request that cannot be sent at all, so that a retry never helps.
_UNSENDABLE_ERRORS = (
    failures.InvalidURL,
    failures.InvalidSchema,
    failures.MissingSchema,
    failures.InvalidHeader,
    UnicodeError,
    urllib3.exceptions.LocationValueError,
)

Pairs = Mapping[str, Any] | Sequence[tuple[str, Any]]


class _NoAuth(AuthBase):
    """Leaves the headers of a request unchanged. Without any auth, requests would read `~/.netrc`."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        return request


class XeroSession(LimiterSession):
    """A requests session for Xero. Safe to use from several threads.

    Args:
        budget: grants the call permits; shared by every process of the deployment.
        transport: handles the requests instead of the network (the mock).
        timeouts: seconds to connect, and to wait for the next bytes.
        tries: how often a request is sent at most when it meets 5xx, time-outs, dropped or truncated answers.
        on_wait: called before each wait with its seconds and its reason.
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
        self._on_wait = on_wait or _ignore_wait
        self._jitter = random or _new_random()
        self._environments: dict[tuple[str, ...], Mapping[str, Any]] = {}
        self._patience = LimitPatience()
        self._permits = CallPermitLimiter(budget, clock, self._jitter, self._on_wait, self._patience)
        super().__init__(limiter=self._permits, per_host=False, limit_statuses=())
        self.headers["User-Agent"] = USER_AGENT
        self.headers["Accept"] = "application/json"
        self.auth = _NoAuth()
        # Xero's API has no sessions, and a cookie from one organisation's call must not be sent with another's.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = transport or DeadlineAdapter(deadline, clock)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    @property
    def attempts(self) -> int:
        """HTTP attempts at the API so far, retries included. Requests to the identity server do not count as calls."""
        return self._permits.acquired

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
        container: type[dict[str, Any]] | type[list[Any]] | None = None,
    ) -> Response:
        """Send a request and return its whole answer, with any status but 429 and 5xx.

        Args:
            tenant_id: the organisation whose permits the attempts take; `None` for a call of the app itself.
            identity: whether the request is to the identity server. It takes no permits, because the API's limits do
                not apply there.

        Raises:
            XeroUnavailable: each attempt ended with 5xx, a time-out, or a dropped or truncated answer.
            MinuteLimitReached, RateLimited: a short limit was still reached after every wait.
            DayLimitReached: the day's calls are spent; raised at once, with the moment to continue.
            RequestRefused: the request cannot be sent as it is.
        """
        what = f"{method} {_path(url)}"
        request = self._prepare(method, url, what, tenant_id, headers, params, data, auth)
        policy = RetryPolicy(self._tries, self.clock, self._jitter, self._patience, tenant_id)
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=policy.stop,
            wait=policy.wait,
            before_sleep=self._report_wait,
            sleep=self.clock.sleep,
            reraise=True,
        )
        try:
            return retrying(self._try_once, request, what, identity, container, policy)
        except TransientError as failure:
            # `from None`, because the cause may hold the request and so the token.
            raise failure.to_xero_error(what) from None

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send one attempt: acquire a permit, read the whole answer, and release the permit in any case."""
        return self._send(request, kwargs, with_permit=True)

    def get_redirect_target(self, resp: Response) -> None:
        """Never follow a redirect: it would send the token to the address that it names."""
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
        tenant = {TENANT_HEADER: tenant_id} if tenant_id is not None else {}
        request = Request(method, url, headers={**(headers or {}), **tenant}, params=params, data=data, auth=auth)
        try:
            return self.prepare_request(request)
        except _UNSENDABLE_ERRORS:
            raise _refuse_unsendable(what) from None

    def _try_once(
        self,
        request: PreparedRequest,
        what: str,
        identity: bool,
        container: type[dict[str, Any]] | type[list[Any]] | None,
        policy: RetryPolicy,
    ) -> Response:
        policy.begin_attempt()
        try:
            response = self._send_over_network(request, what, identity, policy.attempt)
            return self._require_final(response, request, identity, container)
        except TransientError as failure:
            policy.record_failure(failure)
            log.info("%s failed: %s", what, failure)
            raise

    def _send_over_network(self, request: PreparedRequest, what: str, identity: bool, attempt: int) -> Response:
        """Send one attempt; turn an error of the network into a `TransportFailure`."""
        try:
            response = self._send(request.copy(), dict(self._environment(request.url or "")), with_permit=not identity)
        except _UNSENDABLE_ERRORS:
            raise _refuse_unsendable(what) from None
        except _TRANSPORT_ERRORS as error:
            raise TransportFailure(_describe_error(error)) from None
        # One line for each call: in Dagster's event store it would take longer than the call.
        log.debug(
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

    def _require_final(
        self,
        response: Response,
        request: PreparedRequest,
        identity: bool,
        container: type[dict[str, Any]] | type[list[Any]] | None,
    ) -> Response:
        """Return the answer, or raise `TransientError` if another attempt may get a better one."""
        status = response.status_code
        tenant_id = _tenant_of(request)
        if status == 429:
            self._patience.begin(tenant_id)
            raise self._read_rate_limit(response, request, identity)
        self._patience.reset(tenant_id)
        if status >= 500 or status == 408:
            retry_after = read_retry_after(response, self.clock.now())
            raise TransportFailure(f"it answered {status}", status=status, retry_after=retry_after)
        # Other statuses need no body: a 401 without one still means that Xero does not accept the token.
        if 200 <= status <= 299 and (problem := find_body_problem(response, container)):
            raise TransportFailure(problem, status=status)
        return response

    def _read_rate_limit(self, response: Response, request: PreparedRequest, identity: bool) -> RateLimitHit:
        hit = read_rate_limit(response, self.clock)
        if identity:
            # The identity server's limits are for the whole app, and none of them lasts a day.
            return RateLimitHit(RateLimitKind.APP_MINUTE, hit.wait, self.clock.now())
        tenant_id = _tenant_of(request)
        # A concurrency limit ends in a moment, and the app itself has no day limit: neither blocks other processes.
        if hit.problem is not RateLimitKind.CONCURRENT and (
            tenant_id is not None or hit.problem is not RateLimitKind.DAY
        ):
            self.budget.block(tenant_id, hit.problem, hit.until)
        return hit

    def _send(self, request: PreparedRequest, kwargs: dict[str, Any], *, with_permit: bool) -> Response:
        kwargs |= {
            "timeout": kwargs.get("timeout") or self._timeouts,
            "stream": True,
            "allow_redirects": False,
        }
        if not with_permit:
            return _read_body(Session.send(self, request, **kwargs))
        response = None
        try:
            response = LimiterMixin.send(self, request, **kwargs)
            return _read_body(response)
        finally:
            permit = self._permits.pop_permit()
            if permit is not None:
                remaining = read_rate_limit_headers(response) if response is not None else RateLimitHeaders()
                self.budget.release(permit, self.clock.now(), remaining)

    def _bucket_name(self, request: PreparedRequest) -> str:
        return _tenant_of(request) or APP

    def _report_wait(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        reason = describe_wait(error.problem) if isinstance(error, RateLimitHit) else f"an attempt failed: {error}"
        self._on_wait(state.upcoming_sleep, reason)


def _read_body(response: Response) -> Response:
    """Read the body to its end and release the connection."""
    raw = response.raw
    if isinstance(raw, urllib3.response.BaseHTTPResponse):
        # requests would report every failure here as a lost connection.
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
    """Return the path without the query, which may hold a secret."""
    try:
        return urlsplit(url).path or "/"
    except ValueError:
        return "a malformed address"


def _tenant_of(request: PreparedRequest) -> str | None:
    tenant_id = request.headers.get(TENANT_HEADER)
    return tenant_id.decode("latin-1") if isinstance(tenant_id, bytes) else tenant_id


def _describe_error(error: Exception) -> str:
    """Describe the failure without the address and headers that the libraries put into their texts."""
    if isinstance(error, failures.ConnectTimeout):
        return "connecting took too long"
    if isinstance(error, (failures.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return "its answer took too long"
    if isinstance(error, failures.ProxyError):
        return "the proxy let nothing through"
    if isinstance(error, (failures.SSLError, urllib3.exceptions.SSLError)):
        return "no secure connection could be made"
    if isinstance(error, failures.ConnectionError):
        return "the connection was refused or dropped"
    return "its answer was cut short"


def _refuse_unsendable(what: str) -> RequestRefused:
    return RequestRefused(
        f"{what} cannot be sent: its address or one of its headers is malformed.",
        advice="Check XERO_API_URL and XERO_IDENTITY_URL.",
    )


def _ignore_wait(_seconds: float, _reason: str) -> None:
    pass


def _new_random() -> random.Random:
    return random.Random()  # noqa: S311 - jitter, no secret
