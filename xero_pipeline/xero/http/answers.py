"""The meaning of Xero's answers: the only module that turns a status into a class of `xero/errors.py`.

It also reads all of Xero's JSON. `session.py` and `retry_policy.py` send and retry requests; the modules in
`readers/` interpret the bodies.
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
from xero_pipeline.xero.http.payloads import get_kept_payload
from xero_pipeline.xero.http.retry_policy import read_rate_limit

Container = TypeVar("Container", dict[str, Any], list[Any])

# How many characters of Xero's own text an error repeats, so that it stays one readable line.
MAX_TEXT_LENGTH = 300

# The scopes for each endpoint, by the end of its path: the granular one first, then the one of older apps.
_SCOPES = {
    "reports/profitandloss": ("accounting.reports.profitandloss.read", "accounting.reports.read"),
    "reports/banksummary": ("accounting.reports.banksummary.read", "accounting.reports.read"),
    "invoices": ("accounting.invoices.read", "accounting.transactions.read"),
    "creditnotes": ("accounting.invoices.read", "accounting.transactions.read"),
    "organisation": ("accounting.settings.read",),
    "accounts": ("accounting.settings.read",),
    "trackingcategories": ("accounting.settings.read",),
}

# The form fields of the token and revocation endpoints that hold a secret.
_SECRET_FIELDS = {"client_secret", "code", "code_verifier", "refresh_token", "token"}

# A JSON Web Token, whole or cut, by its header. No message may hold one of Xero's tokens.
_TOKEN = re.compile(r"eyJ[\w-]{8,}(\.[\w-]*)*")

_ESCAPED_NON_CHARACTER = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_NON_CHARACTER = re.compile("[\0\ud800-\udfff]")

_REFUSED_ADVICE = "The next sync tries again; if Xero refuses that, too, report this text as a defect."


class AccessTokenExpired(XeroError):
    """Xero does not accept this access token, but may accept a fresh one. Only `transport.py` handles this error."""

    code = "access_token_expired"


def raise_for_answer(response: Response, *, tenant_id: str | None, what: str, clock: Clock) -> None:
    """Raise the error that the answer's status stands for; return if it is a success.

    Args:
        tenant_id: the organisation of the request; `None` for a call of the app itself.
        what: the request, as it completes "Xero refused …".

    Raises:
        AccessTokenExpired: 401 that a fresh access token may cure.
        ScopeMissing: 401 or 403 because the consent lacks a scope.
        OrganisationDisconnected: 403 because the organisation is wrong or disconnected.
        ReportsForbidden: 403 on a report because the user's role has no reports.
        PermissionMissing: any other 403.
        RequestRefused: any other 4xx, and a redirect.
        RateLimited, XeroUnavailable: 429 and 5xx, for an answer that was not retried.
    """
    status = response.status_code
    if 200 <= status <= 299 or status == 304:
        return
    if status == 429:
        raise read_rate_limit(response, clock).to_xero_error(what)
    if status >= 500:
        raise XeroUnavailable(f"Xero answered {status} for {what}.", status=status)
    if 300 <= status <= 399:
        raise RequestRefused(
            f"Xero answered {what} with a redirect, which is never followed.",
            advice="Check XERO_API_URL and XERO_IDENTITY_URL.",
            status=status,
        )
    answer = _ErrorAnswer(response)
    if status == 401:
        _raise_unauthorised(response, answer, what)
    if status == 403:
        _raise_forbidden(response, answer, tenant_id, what)
    raise RequestRefused(
        f"Xero refused {what} ({status}): {answer.text}",
        advice="Check XERO_API_URL." if status == 404 else _REFUSED_ADVICE,
        status=status,
    )


def _raise_unauthorised(response: Response, answer: _ErrorAnswer, what: str) -> NoReturn:
    if answer.lacks_scope:
        raise _scope_missing(response, what)
    # TokenExpired, AuthenticationUnsuccessful or an unknown text: one fresh token is worth a try.
    raise AccessTokenExpired(f"Xero did not take the access token for {what}: {answer.text}", status=401)


def _raise_forbidden(response: Response, answer: _ErrorAnswer, tenant_id: str | None, what: str) -> NoReturn:
    if answer.lacks_scope:
        raise _scope_missing(response, what)
    if answer.has("authenticationunsuccessful"):
        which = f"organisation {tenant_id}" if tenant_id else "organisation of this connection"
        raise OrganisationDisconnected(f"Xero no longer lets this app into the {which}.", status=403)
    if "/reports/" in _path(response).lower():
        raise ReportsForbidden(f"Xero refused {what}: {answer.text}", status=403)
    raise PermissionMissing(
        f"Xero forbids {what}: {answer.text}",
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
        advice="Add it to XERO_SCOPES, then connect again: a consent covers only the scopes it was given for.",
        status=response.status_code,
    )


def raise_for_token_answer(response: Response) -> None:
    """Raise the error that the identity server's answer to a token request stands for; return if it is a success.

    Raises:
        ReconnectNeeded: `invalid_grant`: the code or refresh token is expired, used or revoked.
        AppRefused: the client id, secret, scopes or grant do not match the app at Xero.
        RequestRefused: anything else.
    """
    status = response.status_code
    if 200 <= status <= 299:
        return
    answer = _ErrorAnswer(response)
    error = answer.field("error").lower()
    if error == "invalid_grant":
        raise ReconnectNeeded("Xero refuses the refresh token: it is expired, used or revoked.", status=status)
    if error == "invalid_scope":
        raise AppRefused(
            "Xero refuses the requested scopes.",
            advice="Compare XERO_SCOPES with the scopes of your app at developer.xero.com.",
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
        f"Xero refused the request for tokens ({status}): {answer.text}",
        advice="Check XERO_IDENTITY_URL.",
        status=status,
    )


def parse_json(response: Response, container: type[Container]) -> Container:
    """Parse the answer's JSON; numbers with a fraction become exact `Decimal`.

    Args:
        container: the type that the whole must have, `dict` or `list`.

    NUL and lone surrogates in texts are replaced, because no database can store them.

    Raises:
        PayloadNotUnderstood: the body is not strict JSON, or has another type.
    """
    where = _path(response)
    try:
        payload = get_kept_payload(response)
        if payload is None:
            payload = json.loads(response.content, parse_float=Decimal, parse_constant=_refuse_constant)
        if _ESCAPED_NON_CHARACTER.search(response.content):
            payload = _replace_non_characters(payload)
    except (ValueError, RecursionError):
        # `from None`, because the error holds the body.
        raise PayloadNotUnderstood(f"Xero's answer to {where} is not JSON.", status=response.status_code) from None
    if not isinstance(payload, container):
        kind = "an object" if container is dict else "a list"
        raise PayloadNotUnderstood(f"Xero's answer to {where} is not {kind}.", status=response.status_code)
    return payload


def _replace_non_characters(value: Any) -> Any:
    """Put U+FFFD in place of NUL and of lone surrogates, such as half an emoji in a text that was cut to a length.

    A database can store neither, and no figure depends on them.
    """
    if isinstance(value, str):
        return _NON_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_replace_non_characters(element) for element in value]
    if isinstance(value, dict):
        return {key: _replace_non_characters(element) for key, element in value.items()}
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _path(response: Response) -> str:
    """Return the path of the request, without the query."""
    url = response.request.url if response.request is not None else response.url
    return urlsplit(url or "").path or "/"


class _ErrorAnswer:
    """The fields and texts of an error answer, in any capitalisation, JSON or not."""

    def __init__(self, response: Response) -> None:
        self._response = response
        try:
            self._body: object = json.loads(response.content)
        except (ValueError, RecursionError):
            self._body = None

    def field(self, name: str) -> str:
        """Return a text field of the body, whatever its capitals; an empty text if there is none."""
        value = _get_field(self._body, name)
        return value.strip() if isinstance(value, str) else ""

    def has(self, *names: str) -> bool:
        letters = re.sub(r"[^a-z]", "", " ".join(self._iterate_texts()).lower())
        return any(name in letters for name in names)

    @property
    def lacks_scope(self) -> bool:
        challenge = self._response.headers.get("WWW-Authenticate", "").lower()
        return "insufficient_scope" in challenge or self.has("insufficientscope", "authorizationunsuccessful")

    @property
    def text(self) -> str:
        """Xero's own text as one sentence of at most `MAX_TEXT_LENGTH` characters, without tokens and secrets."""
        text = _TOKEN.sub("[token]", " ".join("; ".join(_remove_duplicates(self._iterate_texts())).split()))
        for secret in self._iterate_secrets():
            text = text.replace(secret, "[secret]")
        text = "".join(character for character in text if character.isprintable())
        if len(text) > MAX_TEXT_LENGTH:
            text = text[:MAX_TEXT_LENGTH].rstrip() + "…"
        text = text or "no reason given"
        return text if text.endswith((".", "!", "?", "…")) else f"{text}."

    def _iterate_texts(self) -> Iterator[str]:
        if self._body is None:
            # Xero answers a 404 with plain text. An HTML page comes from a proxy and explains nothing.
            text = self._response.content[: 4 * MAX_TEXT_LENGTH].decode("utf-8", "replace")
            if not text.lstrip().startswith("<"):
                yield text
            return
        if isinstance(self._body, str):
            yield self._body
        for name in ("error", "error_description", "title", "detail", "message"):
            if text := self.field(name):
                yield text
        yield from _iterate_validation_errors(self._body)

    def _iterate_secrets(self) -> Iterator[str]:
        request = self._response.request
        if request is None:
            return
        secrets = _decode(request.headers.get("Authorization")).split()[1:]
        for credentials in secrets[:]:
            # `Basic` credentials are the client id and the client secret.
            with contextlib.suppress(ValueError):
                _, _, secret = base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")
                secrets += [secret, quote_plus(secret)]
        for name, value in parse_qsl(_decode(request.body)):
            if name in _SECRET_FIELDS:
                # Both the plain and the encoded value may be repeated.
                secrets += [value, quote_plus(value)]
        # A shorter value is not a secret, and replacing it would damage the text.
        yield from (secret for secret in secrets if len(secret) >= 8)


def _decode(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _get_field(body: object, name: str) -> object:
    if not isinstance(body, dict):
        return None
    return next((value for key, value in body.items() if str(key).lower() == name), None)


def _iterate_validation_errors(body: object) -> Iterator[str]:
    """Yield each `Elements[].ValidationErrors[].Message`, in which Xero says what is wrong with a request."""
    elements = _get_field(body, "elements")
    for element in [body, *(elements if isinstance(elements, list) else [])]:
        errors = _get_field(element, "validationerrors")
        for error in errors if isinstance(errors, list) else []:
            message = _get_field(error, "message")
            if isinstance(message, str):
                yield message


def _remove_duplicates(texts: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text.strip()))
