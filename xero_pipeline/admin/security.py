"""Which requests are let through, and which headers every response carries. Sessions are in `sessions.py`.

On loopback without `ADMIN_TOKEN` the page is open to this machine. Then the Host header must be a name of this
machine: otherwise any website could point its own name at 127.0.0.1 (DNS rebinding) and read the page. With
`ADMIN_TOKEN` a request needs a session or a bearer token, or the user of a trusted proxy, and the role that
`roles.py` names. In both cases a request that changes something must come from our own pages; a program that is not a
browser sends no origin, and is let through.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote, urlsplit

import anyio
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xero_pipeline.access import LOCAL_NAME, Identity, derive_admin_credential
from xero_pipeline.admin.error_responses import (
    build_error_response,
    build_pipeline_error_response,
    build_unexpected_error_response,
)
from xero_pipeline.admin.roles import (
    CALLBACK_PATH,
    GRAPHQL_PATH,
    MOCK_PATH,
    SAFE_METHODS,
    STATIC_PATH,
    find_action,
    required_role,
)
from xero_pipeline.admin.sessions import Sessions, Visitor, find_origin
from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import DAGSTER_PATH, Settings
from xero_pipeline.settings.base import is_loopback_host
from xero_pipeline.warehouse.access.audit_log import AuditOutcome
from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline.warehouse.access.sessions import SESSION_LIFE
from xero_pipeline.warehouse.errors import DatabaseUnavailable

BACKGROUND_HEADER = "X-Background"
"""The page sends it with what it asks by itself, so that an open page does not keep an idle session alive."""

# A proxy asks here whether a visitor may be let through. It understands 401 and 403 alone (nginx's auth_request).
_PROXY_PATH = "/auth/"

_GUARD_THREADS = 20

_POLICY = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"

_POLICY_HEADER = "Content-Security-Policy"
# Dagster's UI brings a policy of its own, with a nonce for each of its scripts. These parts are added to it.
_POLICY_OF_DAGSTER = "connect-src 'self'; form-action 'self'; frame-ancestors 'none'"
# A WebSocket stays open for hours. While it sends, whether it is still allowed is checked this often.
_RECHECK = timedelta(seconds=5)

_HEADERS = {
    _POLICY_HEADER: _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


# A browser that has seen the page over https does not ask for it over http again, for a year.
_HSTS = {"Strict-Transport-Security": "max-age=31536000"}


class OpenToTheNetwork(PipelineError):
    """Anybody who reaches this machine could use the page."""

    code = "admin_token"


def require_token_off_loopback(settings: Settings, host: str) -> None:
    """Check that the page can listen on `host`.

    Raises:
        OpenToTheNetwork: `host` is not loopback, and `ADMIN_TOKEN` is not set.
    """
    if settings.admin_token is None and not is_loopback_host(host):
        raise OpenToTheNetwork(
            f"The admin page will not listen on {host or 'every address'} without a sign-in: ADMIN_TOKEN is not set.",
            advice="Set it (openssl rand -hex 24), or leave --host at 127.0.0.1.",
        )


class Cookie:
    """A cookie that no script can read. Another site's request carries it only when a person follows a link.

    On https its name begins with `__Host-`, so that no other subdomain can set it.
    """

    def __init__(self, settings: Settings, name: str, *, seconds: int) -> None:
        self._secure = settings.server_url.startswith("https://")
        self._seconds = seconds
        self.name = f"__Host-{name}" if self._secure else name

    def read(self, request: HTTPConnection) -> str | None:
        return request.cookies.get(self.name)

    def write(self, response: Response, value: str) -> None:
        response.set_cookie(self.name, value, max_age=self._seconds, httponly=True, samesite="lax", secure=self._secure)

    def delete(self, response: Response) -> None:
        response.delete_cookie(self.name, httponly=True, samesite="lax", secure=self._secure)


def make_session_cookie(settings: Settings) -> Cookie:
    return Cookie(settings, "xero_pipeline_session", seconds=int(SESSION_LIFE.total_seconds()))


class RequestGuard:
    """Decides whether a request or a WebSocket is let through. It does not depend on the routes."""

    def __init__(self, settings: Settings, clock: Clock, sessions: Sessions | None) -> None:
        self._clock = clock
        self._sessions = sessions
        self._cookie = make_session_cookie(settings)
        self._server = urlsplit(settings.server_url)
        # On an open page everybody is the owner.
        self._local_identity = Identity(LOCAL_NAME, AccessRole.OWNER, derive_admin_credential(settings))

    def may_block(self, request: HTTPConnection) -> bool:
        """Whether `reject` asks the database about this request."""
        is_open = required_role(request.scope["path"], _read_method(request)) is None
        return self._sessions is not None and not (is_open and "authorization" not in request.headers)

    @property
    def is_https(self) -> bool:
        """Whether people reach the page over https."""
        return self._server.scheme == "https"

    def reject(self, request: HTTPConnection) -> Response | None:
        """Return the response to a refused request, or `None` for a request that is let through."""
        try:
            if self._sessions is None:
                request.state.visitor = Visitor(self._local_identity, find_origin(request))
                return self._reject_wrong_host(request) or self._reject_foreign_origin(request)
            return self._reject_by_role(request, self._sessions)
        except (PipelineError, SQLAlchemyError) as error:
            if not isinstance(error, PipelineError):
                error = DatabaseUnavailable("The database cannot be used as it is.")
            response = build_pipeline_error_response(error, self._clock)
            if request.scope["path"].startswith(_PROXY_PATH) and response.status_code != 403:
                response.status_code = 401
            if response.status_code == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response

    def _reject_wrong_host(self, request: HTTPConnection) -> Response | None:
        server_address = request.scope.get("server")
        # A server bound to every address also accepts connections from the network: refuse those.
        reached_at = server_address[0] if server_address and server_address[1] is not None else "localhost"
        if self._is_own_host(request) and not _is_remote_address(reached_at):
            return None
        return build_error_response(403, "host_refused", f"This page can only be reached at {self._server.geturl()}.")

    def _is_own_host(self, request: HTTPConnection) -> bool:
        """Whether the address bar shows this machine's name or that of `SERVER_URL`, and no name that was rebound."""
        host = _parse_host(request.headers.get("host", ""))
        return is_loopback_host(host) or host == self._server.hostname

    def _reject_by_role(self, request: HTTPConnection, sessions: Sessions) -> Response | None:
        needed = required_role(request.scope["path"], _read_method(request))
        visitor, by_bearer = self._identify(request, sessions, is_needed=needed is not None)
        request.state.visitor = visitor
        if needed is not None and visitor is None:
            return _ask_to_sign_in(request)
        # No other site can make a browser send a bearer token, so there the origin needs no check.
        foreign = None if by_bearer else self._reject_foreign_origin(request)
        if foreign is not None or needed is None or visitor is None or visitor.identity.role.includes(needed):
            return foreign
        action = find_action(request.scope["path"], _read_method(request))
        if action is not None:
            sessions.trail.record(visitor.actor, action, outcome=AuditOutcome.REFUSED)
        return build_error_response(
            403, "role_needed", f"This needs the role {needed.value}; yours is {visitor.identity.role.value}."
        )

    def _identify(self, request: HTTPConnection, sessions: Sessions, *, is_needed: bool) -> tuple[Visitor | None, bool]:
        """Return who sends the request, and whether a bearer token says so."""
        origin = find_origin(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return Visitor(sessions.require_token(token.strip(), origin), origin), True
        if not is_needed:
            return None, False
        # A WebSocket is checked again while it is open, whoever sits before it.
        by_person = BACKGROUND_HEADER not in request.headers and request.scope["type"] != "websocket"
        identity = sessions.identify(self._cookie.read(request), by_person=by_person)
        if identity is None and self._is_own_host(request):
            # A cookie belongs to one host, but the proxy signs in every request that reaches it.
            identity = sessions.identify_proxy_user(request)
        return (None if identity is None else Visitor(identity, origin)), False

    def _reject_foreign_origin(self, request: HTTPConnection) -> Response | None:
        if _read_method(request) in SAFE_METHODS or self._is_own_request(request):
            return None
        return build_error_response(
            403, "origin_refused", "This request comes from another site, and changes something."
        )

    def _is_own_request(self, request: HTTPConnection) -> bool:
        """Whether the headers show one of our own pages, or no browser at all."""
        headers = request.headers
        origins = headers.getlist("origin")
        if origins:
            return all(self._is_own_origin(origin, headers.get("host", "")) for origin in origins)
        if "sec-fetch-site" in headers:
            return headers["sec-fetch-site"] in {"same-origin", "none"}
        if "referer" in headers:
            return self._is_own_origin(headers["referer"], headers.get("host", ""))
        return True

    def _is_own_origin(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
            origin_key = (parts.scheme, parts.hostname, _resolve_port(parts.scheme, parts.port))
        except ValueError:
            return False
        server = self._server
        if origin_key == (server.scheme, server.hostname, _resolve_port(server.scheme, server.port)):
            return True
        # On https a page of the same name that came unencrypted may be anybody's. This machine's own names are safe.
        is_safe = parts.scheme == "https" or (
            parts.scheme == "http" and (not self.is_https or is_loopback_host(parts.hostname or ""))
        )
        return is_safe and bool(host) and parts.netloc.lower() == host.lower()


class SecurityMiddleware:
    """The outermost layer: guards every request, adds the security headers, and hides stack traces."""

    def __init__(self, app: ASGIApp, *, guard: RequestGuard, clock: Clock) -> None:
        self._app = app
        self._guard = guard
        self._clock = clock
        # Threads of its own: routes that wait for Xero or Dagster must not keep the guard from letting people in.
        self._limiter: anyio.CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        else:
            await self._serve_request(scope, receive, send)

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        response_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal response_started
            if message["type"] == "http.response.start":
                response_started = True
                self._add_headers(scope["path"], MutableHeaders(scope=message))
            await send(message)

        try:
            response_app: ASGIApp = await self._reject(request) or self._app
            await response_app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - the last handler: a person gets an answer, the log the trace
            response = build_unexpected_error_response(error, request)
            if not response_started:
                await response(scope, receive, send_with_headers)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        # Closed before it is accepted, it is answered with 403. 1008: policy violation.
        refusal: Message = {"type": "websocket.close", "code": 1008}
        if scope["path"] != GRAPHQL_PATH or await self._reject(connection) is not None:
            await send(refusal)
            return
        checked_at, is_closed = self._clock.now(), False

        async def send_while_allowed(message: Message) -> None:
            nonlocal checked_at, is_closed
            if not is_closed and self._clock.now() >= checked_at + _RECHECK:
                # The session may have ended meanwhile.
                checked_at = self._clock.now()
                if await self._reject(connection) is not None:
                    is_closed = True
                    await send(refusal)
            if not is_closed:
                await send(message)

        await self._app(scope, receive, send_while_allowed)

    async def _reject(self, request: HTTPConnection) -> Response | None:
        if not self._guard.may_block(request):
            return self._guard.reject(request)
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_GUARD_THREADS)
        return await anyio.to_thread.run_sync(self._guard.reject, request, limiter=self._limiter)

    def _add_headers(self, path: str, headers: MutableHeaders) -> None:
        own_policy = headers.get(_POLICY_HEADER)
        for name, value in self._choose_headers(path).items():
            headers[name] = value
        if own_policy is not None and path.startswith(f"{MOCK_PATH}/"):
            # The mock's consent page has its own styles and redirect, so it sends its own policy.
            headers[_POLICY_HEADER] = own_policy
        elif own_policy is not None and path.startswith(f"{DAGSTER_PATH}/"):
            headers[_POLICY_HEADER] = f"{own_policy.rstrip('; ')}; {_POLICY_OF_DAGSTER}"
        # Dagster's older form of Permissions-Policy; browsers complain of the two together.
        del headers["Feature-Policy"]

    def _choose_headers(self, path: str) -> Mapping[str, str]:
        headers = _HEADERS | (_HSTS if self._guard.is_https else {})
        if path.startswith((STATIC_PATH, f"{DAGSTER_PATH}{STATIC_PATH}")):
            return {**headers, "Cache-Control": "no-cache"}
        headers = {**headers, "Cache-Control": "no-store"}
        if path == CALLBACK_PATH:
            # The address holds the code and the state of a consent.
            headers["Referrer-Policy"] = "no-referrer"
        return headers


def _ask_to_sign_in(request: HTTPConnection) -> Response:
    if request.scope.get("method") == "GET" and "text/html" in request.headers.get("accept", ""):
        query = request.scope["query_string"].decode("latin-1")
        target = request.scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse("/login" if target == "/" else f"/login?next={quote(target, safe='')}", 302)
    return build_error_response(
        401,
        "sign_in_needed",
        "Sign in first, or send your access token as Authorization: Bearer.",
        {"WWW-Authenticate": "Bearer"},
    )


def restrict_to_own_path(path: str) -> str:
    """Return `path` if it is a path of this site, else `/`: the sign-in must not redirect to another site."""
    is_own = path.isprintable() and "\\" not in path and path.startswith("/") and not path.startswith("//")
    return path if is_own else "/"


def _parse_host(header: str) -> str:
    """Return the host of a Host header without its port; empty when it cannot be read."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_remote_address(host: str) -> bool:
    """Whether `host` is an IP address other than a loopback address."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _resolve_port(scheme: str, port: int | None) -> int | None:
    return port or {"http": 80, "https": 443}.get(scheme)


def _read_method(request: HTTPConnection) -> str:
    """Return the request's method. A WebSocket has none, and can change something."""
    return str(request.scope.get("method", "WEBSOCKET"))
