"""Every way in which Xero can fail: one class each, with advice on what to do.

    XeroError
    ├── XeroUnavailable          Xero is down, slow or not reachable; a later retry can succeed
    ├── RateLimited              a limit of Xero was reached; a retry can succeed from `retry_at` on
    │   ├── MinuteLimitReached     the minute's calls are spent, and waiting did not help
    │   └── DayLimitReached        the day's calls are spent; no code sleeps until they are back
    ├── ConnectionLost           a person has to connect again
    │   ├── ReconnectNeeded        the refresh token is expired, used or revoked
    │   ├── OrganisationDisconnected  Xero no longer lets this app into the organisation
    │   └── NotConnected           there is no connection yet
    ├── PermissionMissing        connected, but not allowed
    │   ├── ScopeMissing           the consent lacks a scope
    │   └── ReportsForbidden       the user who consented may not see reports
    ├── AppRefused               the app itself is refused: client id, secret, scopes, redirect address
    ├── ConsentFailed            a sign-in was refused, cut short or forged
    ├── RequestRefused           Xero understood the request and refused it (400, 404 and the like)
    └── PayloadNotUnderstood     the answer cannot be read with certainty, so nothing is taken from it
        └── WrongPeriod            the answer is for other dates than requested

`status` is the HTTP status, if there was one. `retry_at` is the moment from which a retry can succeed. It is `None`
when no retry can, or when every moment is equally good (see `can_retry`).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from xero_pipeline.errors import PipelineError


class XeroError(PipelineError):
    """Base class of all errors from Xero."""

    code = "xero_error"
    can_retry: ClassVar[bool] = False
    """Whether the same request may succeed later without anybody's help."""

    def __init__(
        self,
        what: str,
        *,
        advice: str | None = None,
        status: int | None = None,
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(what, advice=advice)
        self.status = status
        self.retry_at = retry_at


class XeroUnavailable(XeroError):
    code = "xero_unavailable"
    can_retry = True
    default_advice = "Xero or the network is unavailable; the next sync tries again."


class RateLimited(XeroError):
    code = "rate_limited"
    can_retry = True


class MinuteLimitReached(RateLimited):
    code = "minute_limit"
    default_advice = "Other programs may be using this Xero app; the next sync tries again."


class DayLimitReached(RateLimited):
    code = "day_limit"

    def __init__(self, what: str, *, retry_at: datetime, status: int | None = None) -> None:
        super().__init__(
            what,
            advice=f"Nothing is lost: sync again after {retry_at:%Y-%m-%d %H:%M} UTC.",
            retry_at=retry_at,
            status=status,
        )


class ConnectionLost(XeroError):
    code = "connection_lost"


class ReconnectNeeded(ConnectionLost):
    code = "reconnect_needed"
    default_advice = "Connect again: on the admin page, or with `xero-pipeline connect`."


class OrganisationDisconnected(ConnectionLost):
    code = "organisation_disconnected"
    default_advice = "Connect it again: on the admin page, or with `xero-pipeline connect`."


class NotConnected(ConnectionLost):
    code = "not_connected"
    default_advice = "Connect first: on the admin page, or with `xero-pipeline connect`."


class PermissionMissing(XeroError):
    code = "permission_missing"


class ScopeMissing(PermissionMissing):
    code = "scope_missing"


class ReportsForbidden(PermissionMissing):
    code = "reports_forbidden"
    default_advice = (
        "The person who connected has a Xero role without reports: give them a role with reports, "
        "or let somebody else connect."
    )


class AppRefused(XeroError):
    code = "app_refused"
    default_advice = "Compare XERO_CLIENT_ID and XERO_CLIENT_SECRET with your app at developer.xero.com."


class ConsentProblem(StrEnum):
    """Why a sign-in failed."""

    STATE_MISSING = "state_missing"
    STATE_UNKNOWN = "state_unknown"
    STATE_USED = "state_used"
    STATE_EXPIRED = "state_expired"
    STATE_ENDED = "state_ended"
    OTHER_BROWSER = "other_browser"
    ACCESS_DENIED = "access_denied"
    CONSENT_REFUSED = "consent_refused"
    SCOPE_REFUSED = "scope_refused"
    CODE_MISSING = "code_missing"
    CODE_REFUSED = "code_refused"
    NO_ORGANISATION = "no_organisation"
    SCOPE_MISSING = "scope_missing"
    NOT_A_MOCK = "not_a_mock"


class ConsentFailed(XeroError):
    code = "consent_failed"
    default_advice = "Nothing was changed; begin again with Connect."

    def __init__(
        self, what: str, *, reason: ConsentProblem, advice: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(what, advice=advice, status=status)
        self.reason = reason


class RequestRefused(XeroError):
    code = "request_refused"


class PayloadNotUnderstood(XeroError):
    code = "payload_not_understood"
    default_advice = "Nothing was written. The earlier figures are unchanged."


class WrongPeriod(PayloadNotUnderstood):
    code = "wrong_period"
