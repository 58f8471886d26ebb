"""What a request needs to come through, and what every answer carries. Who has signed in is `sign_in.py`'s.

On loopback without `ADMIN_TOKEN` the page is open to this machine. Then the Host header has to be a name of
this machine: else any page on the web could point a name of its own at 127.0.0.1 (DNS rebinding) and be read as
ours. With `ADMIN_TOKEN` a session or a bearer token is needed. In both cases a request that changes something
has to come from our own pages; a program that is no browser says nothing of where it comes from, and may.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xero_pipeline.admin.error_responses import error_response, pipeline_error_response, unexpected_error_response
from xero_pipeline.admin.sessions import SESSION_LIFE, Sessions
from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import Settings

CALLBACK = "/api/v1/xero/callback"
MOCK = "/mock-xero"
_STATIC = "/static/"
# The callback needs no sign-in but the one-time state of a consent that this browser began.
_OPEN = {"/healthz", "/login", CALLBACK}
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

_POLICY = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"

_POLICY_HEADER = "Content-Security-Policy"

_HEADERS = {
    _POLICY_HEADER: _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


class OpenToTheNetwork(PipelineError):
    """The page would be open to everybody who reaches this machine."""

    code = "admin_token"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_token_off_loopback(settings: Settings, host: str) -> None:
    """
    Raises:
        OpenToTheNetwork: it would listen beyond loopback, and nobody would have to sign in.
    """
    if settings.admin_token is None and not is_loopback(host):
        raise OpenToTheNetwork(
            f"The admin page will not listen on {host or 'every address'} without a sign-in: ADMIN_TOKEN is not set.",
            advice="Set it (openssl rand -hex 24), or leave --host at 127.0.0.1.",
        )


class Cookie:
    """A cookie of ours: out of every script's reach, and never sent along by another site's request.

    On https its name binds it to this host alone (`__Host-`): no neighbouring subdomain can set it.
    """

    def __init__(self, settings: Settings, name: str, *, seconds: int) -> None:
        self._secure = settings.server_url.startswith("https://")
        self._seconds = seconds
        self.name = f"__Host-{name}" if self._secure else name

    def read(self, request: Request) -> str | None:
        return request.cookies.get(self.name)

    def write(self, response: Response, value: str) -> None:
        response.set_cookie(self.name, value, max_age=self._seconds, httponly=True, samesite="lax", secure=self._secure)

    def delete(self, response: Response) -> None:
        response.delete_cookie(self.name, httponly=True, samesite="lax", secure=self._secure)


def session_cookie(settings: Settings) -> Cookie:
    return Cookie(settings, "xero_pipeline_session", seconds=int(SESSION_LIFE.total_seconds()))


class RequestGuard:
    """Decides on each request; knows nothing of what lies behind."""

    def __init__(self, settings: Settings, clock: Clock, sign_ins: Sessions | None) -> None:
        self._clock = clock
        self._sign_ins = sign_ins
        self._cookie = session_cookie(settings)
        self._server = urlsplit(settings.server_url)

    def refusal(self, request: Request) -> Response | None:
        """What to answer a request that does not come through; `None` for one that does."""
        try:
            if self._sign_ins is None:
                return self._wrong_host(request) or self._wrong_origin(request)
            return self._not_signed_in(request, self._sign_ins)
        except PipelineError as error:
            response = pipeline_error_response(error, self._clock)
            if response.status_code == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response

    def _wrong_host(self, request: Request) -> Response | None:
        host = _host_of(request.headers.get("host", ""))
        local = request.scope.get("server")
        # Whatever it was bound to: a connection that came in from the network is none of this machine's.
        reached = local[0] if local and local[1] is not None else "localhost"
        if (is_loopback(host) or host == self._server.hostname) and not _is_network(reached):
            return None
        return error_response(
            403, "host_refused", f"This page is reached at {self._server.geturl()}, and by no other name."
        )

    def _not_signed_in(self, request: Request, sign_ins: Sessions) -> Response | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            sign_ins.require_token(given.strip(), request.client.host if request.client else None)
            # No other site can make a browser send this header: whence it comes is of no matter.
            return None
        path = request.scope["path"]
        if not (path in _OPEN or path.startswith(_STATIC) or sign_ins.is_valid(self._cookie.read(request))):
            return _ask_to_sign_in(request)
        return self._wrong_origin(request)

    def _wrong_origin(self, request: Request) -> Response | None:
        if request.method in _SAFE_METHODS or self._is_own(request):
            return None
        return error_response(403, "origin_refused", "This request comes from another site, and changes something.")

    def _is_own(self, request: Request) -> bool:
        """Whether a browser says that one of our own pages asks, or no browser asks."""
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
            found = urlsplit(origin)
            theirs = (found.scheme, found.hostname, _port(found.scheme, found.port))
        except ValueError:
            return False
        server = self._server
        if theirs == (server.scheme, server.hostname, _port(server.scheme, server.port)):
            return True
        return found.scheme in {"http", "https"} and bool(host) and found.netloc.lower() == host.lower()


class SecurityMiddleware:
    """The outermost layer: nothing passes the door unseen, no answer lacks the headers, no error shows a trace."""

    def __init__(self, app: ASGIApp, *, door: RequestGuard) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # Nothing here speaks anything else.
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        headers = self._headers(scope["path"])
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                own = MutableHeaders(scope=message)
                for name, value in headers.items():
                    # The mock's consent page has a style and a way back of its own, and a policy that fits them.
                    if not (name == _POLICY_HEADER and name in own and scope["path"].startswith(f"{MOCK}/")):
                        own[name] = value
            await send(message)

        answer: ASGIApp = self._door.refusal(request) or self._app
        try:
            await answer(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - the last fence: a person gets an answer, the log the trace
            response = unexpected_error_response(error, request)
            if not begun:
                await response(scope, receive, sending)

    @staticmethod
    def _headers(path: str) -> Mapping[str, str]:
        if path.startswith(_STATIC):
            return {**_HEADERS, "Cache-Control": "no-cache"}
        headers = {**_HEADERS, "Cache-Control": "no-store"}
        if path == CALLBACK:
            # The address holds the code and the state of a consent.
            headers["Referrer-Policy"] = "no-referrer"
        return headers


def _ask_to_sign_in(request: Request) -> Response:
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        query = request.scope["query_string"].decode("latin-1")
        wanted = request.scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse("/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}", 302)
    return error_response(
        401,
        "sign_in_needed",
        "Sign in first, or send ADMIN_TOKEN as Authorization: Bearer.",
        {"WWW-Authenticate": "Bearer"},
    )


def own_path(wanted: str) -> str:
    """Where to go after the sign-in: a path of this page's own, whatever was asked for."""
    plain = wanted.isprintable() and "\\" not in wanted and wanted.startswith("/") and not wanted.startswith("//")
    return wanted if plain else "/"


def _host_of(header: str) -> str:
    """The host of a Host header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_network(host: str) -> bool:
    """Whether it is an address, and not one of this machine's own."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(scheme: str, port: int | None) -> int | None:
    return port or {"http": 80, "https": 443}.get(scheme)
