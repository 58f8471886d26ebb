"""A page of a foreign site, which sends from a real browser whatever a page can make a browser send.

Used on `xero-pipeline dev` (`test_door.py`) and on the shipped nginx files (`admin/test_nginx_attacks.py`).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

_REPOSITORY = 'repositoryName: "__repository__", repositoryLocationName: "xero_pipeline.definitions"'
START_SCHEDULE = (
    f'mutation {{ startSchedule(scheduleSelector: {{{_REPOSITORY}, scheduleName: "daily_sync"}}) {{ __typename }} }}'
)
LAUNCH_RUN = (
    f'mutation {{ launchRun(executionParams: {{selector: {{{_REPOSITORY}, jobName: "weekly_sync"}}, '
    "runConfigData: {}}) { __typename } }"
)
SHUT_DOWN = (
    'mutation { shutdownRepositoryLocation(repositoryLocationName: "xero_pipeline.definitions") { __typename } }'
)
READ = "{ runsOrError { __typename } assetNodes { id } }"

# Everything that a page can make a browser send. It returns what the page could read of the answers.
ATTACK = """async ({ bases, mutations, read }) => {
  const readable = [], pending = [];
  const wait = (start) => pending.push(new Promise((done) => { setTimeout(done, 8000); start(done); }));
  const image = (src) => wait((done) => { const one = new Image(); one.onload = one.onerror = done; one.src = src; });
  const frame = (src) => wait((done) => {
    const one = document.createElement("iframe");
    one.onload = () => {
      try { if (one.contentDocument?.body?.innerText) readable.push(["frame", src]); } catch {}
      done();
    };
    one.src = src;
    document.body.append(one);
  });
  const form = (action, query, enctype) => wait((done) => {
    const target = `frame-${Math.random()}`;
    const inside = document.createElement("iframe"), one = document.createElement("form");
    inside.name = target;
    inside.onload = done;
    Object.assign(one, { action, method: "POST", target, enctype });
    const input = document.createElement("input");
    Object.assign(input, { name: enctype === "text/plain" ? `{"query": ${JSON.stringify(query)}, "x": "` : "query",
      value: enctype === "text/plain" ? '"}' : query });
    one.append(input);
    document.body.append(inside, one);
    one.submit();
  });
  const ask = (url, options) => wait((done) => fetch(url, options)
    .then(async (answer) => { if (answer.type !== "opaque") readable.push(["fetch", url, await answer.text()]); })
    .catch(() => {}).finally(done));
  const follow = (url, query) => wait((done) => {
    const socket = new WebSocket(url.replace("http", "ws"), "graphql-ws");
    socket.onopen = () => {
      readable.push(["websocket", url]);
      socket.send(JSON.stringify({ type: "connection_init" }));
      socket.send(JSON.stringify({ type: "start", id: "1", payload: { query } }));
    };
    socket.onerror = socket.onclose = done;
  });
  for (const base of bases) {
    frame(base + "/dagster/");
    frame(base + "/");
    for (const path of ["/api/v1/xero/summary", "/api/v1/xero/status", "/dagster/", "/"])
      for (const mode of ["cors", "no-cors"]) ask(base + path, { mode, credentials: "include" });
    for (const path of ["/dagster/graphql", "/graphql"]) {
      const url = base + path;
      const headers = { "Content-Type": "application/json" };
      ask(url, { method: "POST", body: JSON.stringify({ query: read }), headers });
      for (const query of mutations) {
        const address = `${url}?query=${encodeURIComponent(query)}`;
        image(address);
        ask(address, { mode: "no-cors", credentials: "include" });
        ask(address, { mode: "no-cors", method: "POST", credentials: "include" });
        ask(url, { mode: "no-cors", method: "POST", body: JSON.stringify({ query }), credentials: "include" });
        form(url, query, "application/x-www-form-urlencoded");
        form(url, query, "text/plain");
        follow(url, query);
      }
    }
    for (const path of ["/api/v1/xero/scheduler/start", "/api/v1/xero/sync", "/api/v1/xero/disconnect"]) {
      form(base + path, "x", "text/plain");
      ask(base + path, { mode: "no-cors", method: "POST", credentials: "include" });
    }
  }
  await Promise.all(pending);
  return { readable, sent: pending.length };
}"""


def attack(page: Page, bases: Sequence[str]) -> list[Any]:
    """Let the open page attack these servers. Returns what it could read, and what of them a person would see in it.

    What a person sees in a frame, a foreign page can make them click.
    """
    arguments = {"bases": list(bases), "mutations": [START_SCHEDULE, LAUNCH_RUN, SHUT_DOWN], "read": READ}
    result = page.evaluate(ATTACK, arguments)
    assert result["sent"] > 50 * len(bases)
    shown = [
        frame for frame in page.frames if frame != page.main_frame and frame.locator("script, form, button").count()
    ]
    return result["readable"] + [["shown", frame.url] for frame in shown]


@contextmanager
def serve_foreign_page(certificate: Path | None = None) -> Iterator[int]:
    """Serve an empty page on a port of its own, and yield the port.

    Args:
        certificate: a folder with `cert.pem` and `cert.key`, for https.
    """

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>foreign</title><body></body>")

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "cert.pem", certificate / "cert.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
