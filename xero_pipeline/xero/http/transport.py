"""The APIs of xero-python over `XeroSession`.

xero-python knows Xero's paths and parameters; the session adds call permits and retries. A `rest_client` of our own
replaces xero-python's, so that its urllib3 pool, its retries and its token refresh are not used. Its model objects
are not used either, because they guess types and drop fields that they do not know: answers are raw JSON with exact
decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from requests import Response
from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient
from xero_python.api_client.configuration import Configuration
from xero_python.identity import IdentityApi

from xero_pipeline.xero.errors import (
    OrganisationDisconnected,
    PayloadNotUnderstood,
    PermissionMissing,
    XeroUnavailable,
)
from xero_pipeline.xero.http.answer_time import read_answer_time
from xero_pipeline.xero.http.answers import AccessTokenExpired, parse_json, raise_for_answer
from xero_pipeline.xero.http.session import TENANT_HEADER, XeroSession
from xero_pipeline.xero.reading import record_answer_time

Json = dict[str, Any]

TokenSource = Callable[[str | None], str]
"""Returns the access token to send. The argument is a token that Xero has just refused, or `None`."""

ACCOUNTING_PATH = "/api.xro/2.0"


class XeroApis:
    """Xero's Accounting and Identity APIs, called with an access token.

    Args:
        session: sends the requests.
        api_url: the address of the API without a path, such as `https://api.xero.com`.
        access_token: called before each request, and once more if Xero refuses the token that it returned.
    """

    def __init__(self, session: XeroSession, *, api_url: str, access_token: TokenSource) -> None:
        api_url = api_url.rstrip("/")
        self._session = session
        client = _make_client(_RestClient(session, api_url, access_token))
        self.accounting = AccountingApi(client, base_url=api_url + ACCOUNTING_PATH)
        self.identity = IdentityApi(client, base_url=api_url)

    def get(self, container: str, method: str, tenant_id: str, **arguments: Any) -> Json:
        """Send a GET request to the Accounting API and return its answer.

        Args:
            container: the endpoint as Xero names it (`Invoices`, `Reports/BankSummary`).
            tenant_id: the organisation; empty for the only one that a Custom Connection opens.
            method: xero-python's method for it (`get_invoices`).
            arguments: the arguments of that method; `if_modified_since` as an aware `datetime`.

        Returns:
            The whole JSON object; numbers with a fraction are `Decimal`.

        Raises:
            XeroError: see `answers.raise_for_answer`.
        """
        since = arguments.get("if_modified_since")
        if isinstance(since, datetime):
            # Xero expects UTC to the second, without a time zone.
            arguments["if_modified_since"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        answer = self._request_or_prove_lost(
            partial(getattr(self.accounting, method), tenant_id, _preload_content=False, **arguments), tenant_id
        )
        if answer.status == 304 and since is not None:
            # Nothing has changed since. Xero answers with an empty list, but HTTP allows this status too.
            record_answer_time(read_answer_time({}, answer.response))
            return {container: []}
        payload = parse_json(answer.response, dict)
        status = payload.get("Status")
        if isinstance(status, str) and status.upper() != "OK":
            raise PayloadNotUnderstood(f"Xero answered {container} with status {status[:40]}.")
        record_answer_time(read_answer_time(payload, answer.response))
        return payload

    def _request_or_prove_lost(self, request: Callable[[], _RestResponse], tenant_id: str) -> _RestResponse:
        """Send a request whose 403 ends the connection only if Xero no longer lists the organisation.

        Raises:
            OrganisationDisconnected: Xero's list of connections does not have it.
            XeroUnavailable: it has it, or cannot be read: a 403 alone may be temporary.
        """
        try:
            return request()
        except OrganisationDisconnected:
            is_listed = self._is_listed(tenant_id)
            if is_listed is False:
                raise
        try:
            return request()
        except OrganisationDisconnected as error:
            proof = "lists it as connected" if is_listed else "does not show which organisations are connected"
            raise XeroUnavailable(
                f"{error.what} But Xero {proof}.",
                advice="The next sync tries again; nobody has to connect again.",
                status=error.status,
            ) from None

    def _is_listed(self, tenant_id: str) -> bool | None:
        """Whether Xero lists the organisation as connected; `None` if it refuses to show the list."""
        try:
            rows = self.get_connections()
        except (OrganisationDisconnected, PermissionMissing):
            return None
        return any(isinstance(row, dict) and row.get("tenantId") == tenant_id for row in rows)

    def get_connections(self) -> list[Any]:
        """Send `GET /connections`: the organisations that these tokens give access to, as Xero lists them."""
        answer: _RestResponse = self.identity.get_connections(_preload_content=False)
        return parse_json(answer.response, list)

    def delete_connection(self, connection_id: str) -> None:
        """Disconnect one organisation at Xero.

        Raises:
            RequestRefused: with `status` 404 if Xero knows no such connection.
        """
        self.identity.delete_connection(connection_id, _preload_content=False)


def _make_client(rest_client: _RestClient) -> ApiClient:
    """Make an `ApiClient` that sends its requests through our `rest_client`."""
    # Configuration() returns a copy of one hidden default, so this setting affects no other client.
    configuration = Configuration()
    configuration.oauth2_token = _NoAuthSettings()
    client = ApiClient(configuration)
    # The client has made a rest client of its own, with an urllib3 pool manager that never opened a connection.
    client.rest_client.pool_manager.clear()
    client.rest_client = rest_client
    return client


class _NoAuthSettings:
    """Gives xero-python no Authorization header: `_RestClient` sets it."""

    def get_auth_settings(self) -> None:
        return None


class _RestResponse:
    """A `requests` response with the attributes that xero-python reads."""

    def __init__(self, response: Response) -> None:
        self.response = response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def reason(self) -> str:
        return self.response.reason

    @property
    def data(self) -> bytes:
        return self.response.content

    @property
    def text(self) -> str:
        return self.response.content.decode("utf-8-sig")

    def getheaders(self) -> Mapping[str, str]:
        return self.response.headers

    def getheader(self, name: str, default: str | None = None) -> str | None:
        return self.response.headers.get(name, default)


class _RestClient:
    """Replaces xero-python's `RESTClientObject`.

    It raises the errors of `xero/errors.py`, never xero-python's, whose texts hold headers and bodies.
    """

    def __init__(self, session: XeroSession, api_url: str, access_token: TokenSource) -> None:
        self._session = session
        self._api_url = api_url
        self._access_token = access_token

    def GET(self, url: str, **kwargs: Any) -> _RestResponse:
        return self._request("GET", url, **kwargs)

    def DELETE(self, url: str, **kwargs: Any) -> _RestResponse:
        return self._request("DELETE", url, **kwargs)

    def _request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        query_params: Sequence[tuple[str, Any]] | None = None,
        **_ignored: Any,
    ) -> _RestResponse:
        # xero-python requests /Connections. Xero documents /connections, and other servers accept only that.
        connections = f"{self._api_url}/Connections"
        if url == connections or url.startswith(f"{connections}/"):
            url = f"{self._api_url}/connections{url[len(connections) :]}"
        # The empty id of an organisation stands for none: a Custom Connection needs no such header.
        forwarded = {
            name: value for name, value in (headers or {}).items() if value and name.lower() in _FORWARDED_HEADERS
        }
        query = [(name, _format_query_value(value)) for name, value in query_params or ()]
        return _RestResponse(self._call_with_token(method, url, forwarded, query))

    def _call_with_token(
        self, method: str, url: str, headers: Mapping[str, str], query: list[tuple[str, str]]
    ) -> Response:
        """Call with an access token, and once more with a fresh one if Xero does not accept it."""
        token = self._access_token(None)
        try:
            return self._call(method, url, headers, query, token)
        except AccessTokenExpired:
            token = self._access_token(token)
        try:
            return self._call(method, url, headers, query, token)
        except AccessTokenExpired as error:
            # A refresh token that is no longer valid is refused by the identity server, not here.
            raise XeroUnavailable(
                f"{error.what} It was a fresh one.",
                advice="The next sync tries again with another one; nobody has to connect again.",
                status=error.status,
            ) from None

    def _call(
        self, method: str, url: str, headers: Mapping[str, str], query: list[tuple[str, str]], token: str
    ) -> Response:
        tenant_id = next((value for name, value in headers.items() if name.lower() == TENANT_HEADER), None)
        what = urlsplit(url).path.removeprefix(urlsplit(self._api_url).path).removeprefix(ACCOUNTING_PATH).strip("/")
        response = self._session.call(
            method,
            url,
            tenant_id=tenant_id,
            headers={**headers, "Accept": "application/json", "Authorization": f"Bearer {token}"},
            params=query,
            container=None if method != "GET" else list if what == "connections" else dict,
        )
        raise_for_answer(response, tenant_id=tenant_id, what=what, clock=self._session.clock)
        return response


# The headers of xero-python that are sent; `_RestClient` sets the others.
_FORWARDED_HEADERS = {TENANT_HEADER, "if-modified-since"}


def _format_query_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
