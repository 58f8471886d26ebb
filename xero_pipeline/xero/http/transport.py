"""xero-python's APIs carried by our session: its knowledge of paths and parameters, our slots and patience.

xero-python's `rest_client` is the seam: ours replaces it, so that its urllib3 pool, its retries and its
token refresh stay out of the way. Its model objects are not used: they guess at types and lose what they
do not know; answers come back as raw JSON with exact decimals.
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
    ConnectionLost,
    OrganisationDisconnected,
    PayloadNotUnderstood,
    PermissionMissing,
    ReconnectNeeded,
)
from xero_pipeline.xero.http.answers import AccessTokenExpired, json_body, raise_for_answer
from xero_pipeline.xero.http.session import TENANT_HEADER, XeroSession

Json = dict[str, Any]

TokenSource = Callable[[str | None], str]
"""Gives the access token to send; the argument is one that Xero has just refused, or `None`."""

ACCOUNTING_PATH = "/api.xro/2.0"


class XeroApis:
    """Xero's APIs, signed in.

    Args:
        session: carries the calls.
        api_url: where the API is, without a path: `https://api.xero.com`.
        access_token: asked before each call, and once more when Xero refuses what it gave.
    """

    def __init__(self, session: XeroSession, *, api_url: str, access_token: TokenSource) -> None:
        api_url = api_url.rstrip("/")
        client = _client(_RestClient(session, api_url, access_token))
        self.accounting = AccountingApi(client, base_url=api_url + ACCOUNTING_PATH)
        self.identity = IdentityApi(client, base_url=api_url)

    def get(self, container: str, method: str, tenant_id: str, **arguments: Any) -> Json:
        """One of the Accounting API's answers.

        Args:
            container: the endpoint as Xero names it (`Invoices`, `Reports/BankSummary`).
            method: xero-python's method for it (`get_invoices`).
            arguments: that method's own; `if_modified_since` as an aware `datetime`.

        Returns:
            The whole JSON object; numbers with a fraction are `Decimal`.

        Raises:
            XeroError: see `answers.raise_for_answer`.
        """
        since = arguments.get("if_modified_since")
        if isinstance(since, datetime):
            # Xero takes UTC to the second, without a zone.
            arguments["if_modified_since"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        ask = partial(getattr(self.accounting, method), tenant_id, _preload_content=False, **arguments)
        try:
            answer: _Answer = ask()
        except OrganisationDisconnected:
            # A 403 alone may pass; whether the organisation is connected is what Xero's list of them says.
            if not self._is_listed(tenant_id):
                raise
            answer = ask()
        if answer.status == 304 and since is not None:
            # Nothing has changed since; Xero answers an empty list, but HTTP allows this too.
            return {container: []}
        payload = json_body(answer.response, dict)
        status = payload.get("Status")
        if isinstance(status, str) and status.upper() != "OK":
            raise PayloadNotUnderstood(f"Xero answered {container} with status {status[:40]}.")
        return payload

    def _is_listed(self, tenant_id: str) -> bool:
        try:
            rows = self.connections()
        except (ConnectionLost, PermissionMissing):
            return False
        return any(isinstance(row, dict) and row.get("tenantId") == tenant_id for row in rows)

    def connections(self) -> list[Any]:
        """`GET /connections`: the organisations that these tokens open, as Xero lists them."""
        answer: _Answer = self.identity.get_connections(_preload_content=False)
        return json_body(answer.response, list)

    def delete_connection(self, connection_id: str) -> None:
        """Disconnect one organisation at Xero.

        Raises:
            RequestRefused: with `status` 404, Xero knows no such connection.
        """
        self.identity.delete_connection(connection_id, _preload_content=False)


def _client(rest_client: _RestClient) -> ApiClient:
    """An `ApiClient` that sends through ours."""
    # Configuration() hands out copies of one hidden default, so what is set here stays here.
    configuration = Configuration()
    configuration.oauth2_token = _NoAuthOfItsOwn()
    client = ApiClient(configuration)
    # Its own was made in passing: an urllib3 pool manager that never opened a connection.
    client.rest_client.pool_manager.clear()
    client.rest_client = rest_client
    return client


class _NoAuthOfItsOwn:
    """What xero-python asks for an Authorization header: ours is set where the call is made."""

    def get_auth_settings(self) -> None:
        return None


class _Answer:
    """A `requests` answer with the names that xero-python reads."""

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
    """Takes the place of xero-python's `RESTClientObject`. Our errors come out of it, never xero-python's,
    whose texts hold headers and bodies."""

    def __init__(self, session: XeroSession, api_url: str, access_token: TokenSource) -> None:
        self._session = session
        self._api_url = api_url
        self._access_token = access_token

    def GET(self, url: str, **given: Any) -> _Answer:
        return self._request("GET", url, **given)

    def DELETE(self, url: str, **given: Any) -> _Answer:
        return self._request("DELETE", url, **given)

    def _request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        query_params: Sequence[tuple[str, Any]] | None = None,
        **_ignored: Any,
    ) -> _Answer:
        # xero-python asks for /Connections; Xero documents, and other servers insist on, the small letter.
        connections = f"{self._api_url}/Connections"
        if url == connections or url.startswith(f"{connections}/"):
            url = f"{self._api_url}/connections{url[len(connections) :]}"
        own = {name: value for name, value in (headers or {}).items() if name.lower() in _KEPT_HEADERS}
        query = [(name, _query_value(value)) for name, value in query_params or ()]
        return _Answer(self._signed_in(method, url, own, query))

    def _signed_in(self, method: str, url: str, headers: Mapping[str, str], query: list[tuple[str, str]]) -> Response:
        """Call with an access token; once more with a fresh one when Xero does not take it."""
        token = self._access_token(None)
        try:
            return self._call(method, url, headers, query, token)
        except AccessTokenExpired:
            token = self._access_token(token)
        try:
            return self._call(method, url, headers, query, token)
        except AccessTokenExpired as error:
            raise ReconnectNeeded(f"{error.what} It was a fresh one.", status=error.status) from None

    def _call(
        self, method: str, url: str, headers: Mapping[str, str], query: list[tuple[str, str]], token: str
    ) -> Response:
        tenant_id = next((value for name, value in headers.items() if name.lower() == TENANT_HEADER), None)
        response = self._session.call(
            method,
            url,
            tenant_id=tenant_id,
            headers={**headers, "Accept": "application/json", "Authorization": f"Bearer {token}"},
            params=query,
        )
        what = urlsplit(url).path.removeprefix(urlsplit(self._api_url).path).removeprefix(ACCOUNTING_PATH).strip("/")
        raise_for_answer(response, tenant_id=tenant_id, what=what, clock=self._session.clock)
        return response


# What of xero-python's headers goes out; the others are ours to set.
_KEPT_HEADERS = {TENANT_HEADER, "if-modified-since"}


def _query_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
