"""A stub of the admin page's server: the real templates and static files, with the canned answers of a `Scene`.

`python -m xero_pipeline_tests.admin.stub` shows it at http://127.0.0.1:3009; `/?scene=dagster-down` changes the scene.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

import xero_pipeline
from xero_pipeline_tests.admin.canned import CONNECTED, DAGSTER, EMPTY, FIRST, LATEST, SCENES, Scene, standing
from xero_pipeline_tests.admin.canned_explanations import explain

ADMIN = Path(xero_pipeline.__file__).parent / "admin"
# the policy that the server itself sends (`admin/security.py`)
POLICY = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
API = "/api/v1/xero"


@dataclass
class Stub:
    """The server's state: the scene that it plays, and the calls that it received."""

    scene: Scene = CONNECTED
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path with query, and JSON body of every call of the API."""
    polls: int = 0
    login_error: str | None = None
    url: str = ""

    def play(self, scene: Scene) -> None:
        self.scene, self.calls, self.polls = scene, [], 0
        self.login_error = None

    def build_app(self) -> Starlette:
        routes = [
            Route("/", self._serve_page),
            Route("/login", self._serve_login, methods=["GET", "POST"]),
            Route(API + "/connect", self._handle_connect),
            Route(API + "/{call}", self._handle_call, methods=["GET", "POST"]),
            Route(API + "/{call}/{rest}", self._handle_call, methods=["GET", "POST"]),
            Route(API + "/weeks/{ending}/explain", self._handle_explain),
            Route(API + "/sync-logs/{row:int}/accept", self._handle_accept, methods=["POST"]),
            Route("/static/{path:path}", _serve_static),
        ]
        return Starlette(routes=routes)

    async def _serve_page(self, request: Request) -> Response:
        if "scene" in request.query_params:
            self.play(SCENES[request.query_params["scene"]])
        scene = self.scene
        return _render(
            "index.html",
            standing=scene.standing,
            notice=scene.notice,
            timezone="Australia/Sydney",
            latest_week=LATEST.isoformat(),
            first_week=FIRST.isoformat(),
            latest_month="2026-10-31",
            first_month="2025-02-28",
            dagster_url=DAGSTER,
            export_tables=["financial_weekly", "revenue_weekly"],
            signed_in=scene.signed_in,
            who=scene.who,
            role=scene.role,
            manages_access=scene.who is not None and scene.role == "owner",
            mock_mode=scene.mock_mode,
        )

    async def _serve_login(self, request: Request) -> Response:
        return _render("login.html", error=self.login_error)

    async def _handle_connect(self, request: Request) -> Response:
        return RedirectResponse("/?xero=connected", status_code=302)

    async def _handle_call(self, request: Request) -> Response:
        call, rest = request.path_params["call"], request.path_params.get("rest")
        body = await request.json() if request.method == "POST" else None
        query = f"?{request.url.query}" if request.url.query else ""
        self.calls.append((request.method, request.url.path.removeprefix(API) + query, body))
        if call in self.scene.errors:
            status, message = self.scene.errors[call]
            return JSONResponse({"error": {"code": "error", "message": message}}, status)
        if call in ("summary", "weeks", "sync-logs", "restatements", "audit") and self.scene.delay:
            await asyncio.sleep(self.scene.delay)
        return JSONResponse(self._build_answer(call, rest, body), 202 if call == "sync" else 200)

    async def _handle_explain(self, request: Request) -> Response:
        self.calls.append(("GET", f"{request.url.path.removeprefix(API)}?{request.url.query}", None))
        if "explain" in self.scene.errors:
            status, message = self.scene.errors["explain"]
            return JSONResponse({"error": {"code": "error", "message": message}}, status)
        return JSONResponse(explain(request.path_params["ending"], request.query_params))

    async def _handle_accept(self, request: Request) -> Response:
        body = await request.json()
        self.calls.append(("POST", request.url.path.removeprefix(API), body))
        accepted = {"by": "admin page", "note": body["note"] or None, "at": "2026-11-24T01:00:00+00:00"}
        logs = [
            row | ({"accepted": accepted} if row["id"] == request.path_params["row"] else {}) for row in self.scene.logs
        ]
        self.scene = self.scene.but(logs=logs)
        return JSONResponse(next(row for row in logs if row["id"] == request.path_params["row"]))

    def _build_answer(self, call: str, rest: str | None, body: Any) -> Any:
        scene = self.scene
        match call, rest:
            case "standing", None:
                return scene.standing
            case "summary", None:
                return scene.summary
            case "weeks", str(ending):
                return scene.weeks(ending)
            case "months", str(ending):
                return scene.months(ending)
            case "sync-logs", None:
                return scene.logs
            case "restatements", None:
                return scene.restatements
            case "audit", None:
                return scene.audit
            case "sessions", None:
                return scene.sessions
            case "sessions", "end":
                left = [session for session in scene.sessions if session["id"] != body.get("id", session["id"])]
                self.scene = scene.but(sessions=left)
                return {"ended": len(scene.sessions) - len(left)}
            case "access", None:
                return scene.persons
            case "access", "add":
                added = body | {"hasToken": True, "createdAt": "2026-11-24T01:00:00+00:00"}
                self.scene = scene.but(persons=[*scene.persons, added])
                return body | {"token": "xeropipe_shown-only-once"}
            case "access", "remove":
                self.scene = scene.but(persons=[one for one in scene.persons if one["name"] != body["name"]])
                return {"success": True}
            case "sync", None:
                return scene.start
            case "runs", _:
                self.polls += 1
                return scene.run[min(self.polls, len(scene.run)) - 1]
            case "scheduler", ("start" | "stop") as action:
                self.scene = scene.but(standing=scene.standing | {"schedulerRunning": action == "start"})
                return {"running": action == "start"}
            case "disconnect", None:
                remaining = [
                    organisation
                    for organisation in scene.standing["organisations"]
                    if (body or {}).get("tenantId") not in (None, organisation["tenantId"])
                ]
                self.scene = scene.but(
                    standing=standing(*remaining, scheduler=bool(remaining) and scene.standing["schedulerRunning"]),
                    **EMPTY,
                )
                return {"success": True, "warning": None}
        raise LookupError(f"the stub has no answer to {call}")


_TEMPLATES = Environment(
    loader=FileSystemLoader(ADMIN / "templates"), autoescape=select_autoescape(), undefined=StrictUndefined
)


def _render(name: str, **context: Any) -> HTMLResponse:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(_TEMPLATES.get_template(name).render(**context), headers=headers)


async def _serve_static(request: Request) -> Response:
    """Serve a static file. The browser caches it, so that all tests together fetch and compile it once."""
    file = ADMIN / "static" / request.path_params["path"]
    headers = {"Cache-Control": "max-age=600", "X-Content-Type-Options": "nosniff"}
    kind, _ = mimetypes.guess_type(file)
    return Response(file.read_bytes(), media_type=kind, headers=headers)


@contextlib.contextmanager
def run_stub() -> Iterator[Stub]:
    """Run a stub on a free loopback port, in a thread, while the block runs."""
    stub = Stub()
    listening = socket.create_server(("127.0.0.1", 0))
    stub.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    started = threading.Event()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        started.set()
        yield

    app = stub.build_app()
    app.router.lifespan_context = lifespan
    # a response that waits for an hour must not delay the shutdown
    config = uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        if not started.wait(10):
            raise RuntimeError("the stub did not start")
        yield stub
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


if __name__ == "__main__":
    uvicorn.run(Stub().build_app(), host="127.0.0.1", port=3009, log_level="warning", ws="none")
