"""What Xero's answers mean: the only place that turns a status into a class of `errors.py`.

Also the one reader of Xero's JSON. How a request travels and is tried again is `session.py`'s and
`retry.py`'s matter; what a body says about the books is read in `reports.py` and its neighbours.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, quote_plus, urlsplit

from requests import Response

from xero_pipeline.clock import Clock
from xero_pipeline.xero.errors import (
    AppRefused,
    OrganisationDisconnected,
    PayloadNotUnderstood,
    PermissionMissing,
    ReconnectNeeded,
    ReportsForbidden,
    RequestRefused,
    ScopeMissing,
    XeroError,
    XeroUnavailable,
)
from xero_pipeline.xero.http.retry_policy import read_limit

Container = TypeVar("Container", dict[str, Any], list[Any])

# What of Xero's own words fits into one readable line.
LONGEST_TEXT = 300

# Which scope opens which endpoint, by the end of its path: granular first, then the one of older apps.
_SCOPES = {
    "reports/profitandloss": ("accounting.reports.profitandloss.read", "accounting.reports.read"),
    "reports/banksummary": ("accounting.reports.banksummary.read", "accounting.reports.read"),
    "invoices": ("accounting.invoices.read", "accounting.transactions.read"),
    "creditnotes": ("accounting.invoices.read", "accounting.transactions.read"),
    "organisation": ("accounting.settings.read",),
    "accounts": ("accounting.settings.read",),
    "trackingcategories": ("accounting.settings.read",),
}

# What of a form that we post is a secret: all that it sends to the token and revocation endpoints but words.
_SECRET_FIELDS = {"client_secret", "code", "code_verifier", "refresh_token", "token"}

# The header and first letters of a JSON Web Token, whole or cut: Xero's tokens never belong in a message.
_TOKEN = re.compile(r"eyJ[\w-]{8,}(\.[\w-]*)*")

_MAY_HOLD_NO_CHARACTER = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")

_REFUSED_ADVICE = "The next sync asks again; if Xero refuses it then, too, report these words as a defect."


class AccessTokenExpired(XeroError):
    """Xero does not take this access token; a fresh one may do. Only `transport.py` sees it."""

    code = "access_token_expired"


def raise_for_answer(response: Response, *, tenant_id: str | None, what: str, clock: Clock) -> None:
    """Raise what a status other than success means; come back for a success.

    Args:
        tenant_id: the organisation that was asked for, `None` for a call of the app's own.
        what: what was asked for, in words that fit "Xero refused …".

    Raises:
        AccessTokenExpired: 401 that a fresh access token may cure.
        ScopeMissing: 401 or 403 because the consent lacks a scope.
        OrganisationDisconnected: 403, wrong or disconnected organisation.
        ReportsForbidden: 403 on a report, the user's role shows none.
        PermissionMissing: any other 403.
        RequestRefused: any other 4xx, and a redirect.
        RateLimited, XeroUnavailable: 429 and 5xx, for an answer that was not tried again.
    """
    status = response.status_code
    if 200 <= status <= 299 or status == 304:
        return
    if status == 429:
        raise read_limit(response, clock).as_error(what)
    if status >= 500:
        raise XeroUnavailable(f"Xero answered {status} for {what}.", status=status)
    if 300 <= status <= 399:
        raise RequestRefused(
            f"Xero answered {what} with a redirect, which is never followed.",
            advice="Check XERO_API_URL and XERO_IDENTITY_URL.",
            status=status,
        )
    said = _Said(response)
    if status == 401:
        _raise_unauthorised(response, said, what)
    if status == 403:
        _raise_forbidden(response, said, tenant_id, what)
    raise RequestRefused(
        f"Xero refused {what} ({status}): {said.text}",
        advice="Check XERO_API_URL." if status == 404 else _REFUSED_ADVICE,
        status=status,
    )


def _raise_unauthorised(response: Response, said: _Said, what: str) -> NoReturn:
    if said.lacks_scope:
        raise _scope_missing(response, what)
    # TokenExpired, AuthenticationUnsuccessful, or words that we do not know: one fresh token is worth a try.
    raise AccessTokenExpired(f"Xero did not take the access token for {what}: {said.text}", status=401)


def _raise_forbidden(response: Response, said: _Said, tenant_id: str | None, what: str) -> NoReturn:
    if said.lacks_scope:
        raise _scope_missing(response, what)
    if said.has("authenticationunsuccessful"):
        which = f"organisation {tenant_id}" if tenant_id else "organisation of this connection"
        raise OrganisationDisconnected(f"Xero no longer lets this app into the {which}.", status=403)
    if "/reports/" in _path(response).lower():
        raise ReportsForbidden(f"Xero refused {what}: {said.text}", status=403)
    raise PermissionMissing(
        f"Xero forbids {what}: {said.text}",
        advice="Check the Xero role of the person who connected, or let somebody else connect.",
        status=403,
    )


def _scope_missing(response: Response, what: str) -> ScopeMissing:
    path = _path(response).rstrip("/").lower()
    scopes = next((scopes for end, scopes in _SCOPES.items() if path.endswith(f"/{end}") or f"/{end}/" in path), ())
    if not scopes:
        return ScopeMissing(
            f"The consent lacks a scope for {what}.",
            advice="Compare XERO_SCOPES with .env.example, then connect again.",
            status=response.status_code,
        )
    older = f" (an older app: {scopes[1]})" if len(scopes) > 1 else ""
    return ScopeMissing(
        f"The consent lacks the scope {scopes[0]}{older}, which {what} needs.",
        advice="Add it to XERO_SCOPES, then connect again: a consent covers only what it was asked for.",
        status=response.status_code,
    )


def raise_for_token_answer(response: Response) -> None:
    """Raise what the identity server's answer to a token request means; come back for a success.

    Raises:
        ReconnectNeeded: `invalid_grant`: the code or refresh token is expired, used or revoked.
        AppRefused: client id, secret, scopes or grant are not what the app at Xero has.
        RequestRefused: anything else.
    """
    status = response.status_code
    if 200 <= status <= 299:
        return
    said = _Said(response)
    error = said.field("error").lower()
    if error == "invalid_grant":
        raise ReconnectNeeded("Xero refuses the refresh token: it is expired, used or revoked.", status=status)
    if error == "invalid_scope":
        raise AppRefused(
            "Xero refuses the scopes that were asked for.",
            advice="Compare XERO_SCOPES with what your app may ask for at developer.xero.com.",
            status=status,
        )
    if error in {"unauthorized_client", "unsupported_grant_type"}:
        raise AppRefused(
            f"Xero does not let this app sign in this way ({error}).",
            advice="Compare XERO_GRANT and XERO_CLIENT_ID with your app at developer.xero.com.",
            status=status,
        )
    if error == "invalid_client" or status == 401:
        raise AppRefused("Xero refuses the client id or secret of this app.", status=status)
    raise RequestRefused(
        f"Xero refused the request for tokens ({status}): {said.text}",
        advice="Check XERO_IDENTITY_URL.",
        status=status,
    )


def json_body(response: Response, container: type[Container]) -> Container:
    """The answer's JSON, numbers with a fraction as exact `Decimal`.

    Args:
        container: what the whole must be, `dict` or `list`.

    Texts hold no NUL and no half of a pair of surrogates, which no database keeps.

    Raises:
        PayloadNotUnderstood: it is no strict JSON, or another container.
    """
    where = _path(response)
    try:
        payload = json.loads(response.content, parse_float=Decimal, parse_constant=_refuse_constant)
        if _MAY_HOLD_NO_CHARACTER.search(response.content):
            payload = _mended(payload)
    except (ValueError, RecursionError):
        # `from None`: the error holds the body.
        raise PayloadNotUnderstood(f"Xero's answer to {where} is not JSON.", status=response.status_code) from None
    if not isinstance(payload, container):
        kind = "an object" if container is dict else "a list"
        raise PayloadNotUnderstood(f"Xero's answer to {where} is not {kind}.", status=response.status_code)
    return payload


def _mended(value: Any) -> Any:
    """The same with U+FFFD for what is no character: half an emoji, where a text was cut to a column's length, and
    NUL. Neither can be kept in a database, and no figure hangs on it."""
    if isinstance(value, str):
        return _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_mended(one) for one in value]
    if isinstance(value, dict):
        return {key: _mended(one) for key, one in value.items()}
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _path(response: Response) -> str:
    """The path that was asked for: never the query."""
    url = response.request.url if response.request is not None else response.url
    return urlsplit(url or "").path or "/"


class _Said:
    """What an error answer says, in either capitalisation, JSON or not."""

    def __init__(self, response: Response) -> None:
        self._response = response
        try:
            self._body: object = json.loads(response.content)
        except (ValueError, RecursionError):
            self._body = None

    def field(self, name: str) -> str:
        """One field of the body, whatever its capitals; empty when there is none."""
        value = _field(self._body, name)
        return value.strip() if isinstance(value, str) else ""

    def has(self, *names: str) -> bool:
        said = re.sub(r"[^a-z]", "", " ".join(self._texts()).lower())
        return any(name in said for name in names)

    @property
    def lacks_scope(self) -> bool:
        challenge = self._response.headers.get("WWW-Authenticate", "").lower()
        return "insufficient_scope" in challenge or self.has("insufficientscope", "authorizationunsuccessful")

    @property
    def text(self) -> str:
        """Xero's own words as one line of a sane length, a sentence's end at its end, without a token."""
        words = _TOKEN.sub("[token]", " ".join("; ".join(_unique(self._texts())).split()))
        for secret in self._secrets():
            words = words.replace(secret, "[secret]")
        words = "".join(character for character in words if character.isprintable())
        if len(words) > LONGEST_TEXT:
            words = words[:LONGEST_TEXT].rstrip() + "…"
        words = words or "no reason given"
        return words if words.endswith((".", "!", "?", "…")) else f"{words}."

    def _texts(self) -> Iterator[str]:
        if self._body is None:
            # Plain text is Xero's way with 404. A page of HTML is a proxy's, and says nothing that helps.
            text = self._response.content[: 4 * LONGEST_TEXT].decode("utf-8", "replace")
            if not text.lstrip().startswith("<"):
                yield text
            return
        if isinstance(self._body, str):
            yield self._body
        for name in ("error", "error_description", "title", "detail", "message"):
            if found := self.field(name):
                yield found
        yield from _validation_errors(self._body)

    def _secrets(self) -> Iterator[str]:
        request = self._response.request
        if request is None:
            return
        sent = _words(request.headers.get("Authorization")).split()[1:]
        for credentials in sent[:]:
            # `Basic`: client id and secret, of which the second is one.
            with contextlib.suppress(ValueError):
                _, _, secret = base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")
                sent += [secret, quote_plus(secret)]
        for name, value in parse_qsl(_words(request.body)):
            if name in _SECRET_FIELDS:
                # As it is, and as it travelled.
                sent += [value, quote_plus(value)]
        # Shorter ones are no secrets, and replacing them would maim the words.
        yield from (secret for secret in sent if len(secret) >= 8)


def _words(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _field(body: object, name: str) -> object:
    if not isinstance(body, dict):
        return None
    return next((value for key, value in body.items() if str(key).lower() == name), None)


def _validation_errors(body: object) -> Iterator[str]:
    """`Elements[].ValidationErrors[].Message`, where Xero says what is wrong with a request."""
    elements = _field(body, "elements")
    for holder in [body, *(elements if isinstance(elements, list) else [])]:
        errors = _field(holder, "validationerrors")
        for error in errors if isinstance(errors, list) else []:
            message = _field(error, "message")
            if isinstance(message, str):
                yield message


def _unique(texts: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text.strip()))
